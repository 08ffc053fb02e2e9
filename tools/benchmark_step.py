"""Time a training step of a detector with its weights channels-last and as they are, side by side.

    python tools/benchmark_step.py configs/ssdlite_tinynet_d_coco.py --out results/training_step.csv

Random images at the config's size; forward, losses, backward and the optimizer's step are inside the clock, loading is not. The
two take turns, and the ratio is that of each turn.
"""

import argparse
import csv
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from tinynet_mm import cli
from tinynet_mm.benchmark import random_batch


def timed_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, data: dict) -> float:
    """Seconds of one training step."""
    started = time.perf_counter()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    optimizer.zero_grad()
    model.parse_losses(losses)[0].backward()
    optimizer.step()
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=10, help='turns, after one that is not counted')
    parser.add_argument('--out', type=Path, help='a CSV file for the row')
    args = parser.parse_args(argv)
    cfg = cli.load_config(args.config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    contenders = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        model = MODELS.build(cfg.model).train().to(memory_format=layout)
        contenders[layout] = model, torch.optim.SGD(model.parameters(), lr=1e-4)
    data = random_batch(cfg.model.bbox_head.input_size, args.batch)
    turns = [{layout: timed_step(*pair, data) for layout, pair in contenders.items()} for _ in range(args.rounds + 1)][1:]
    plain, last = ([turn[layout] for turn in turns] for layout in contenders)
    ratios = sorted(a / b for a, b in zip(plain, last))
    row = dict(
        config=Path(args.config).stem, batch=args.batch, rounds=args.rounds, threads=torch.get_num_threads(), precision='fp32',
        machine=platform.processor() or platform.machine(), torch=torch.__version__, plain_s=round(statistics.median(plain), 3),
        channels_last_s=round(statistics.median(last), 3), speedup=round(statistics.median(ratios), 2),
        speedup_least=round(ratios[0], 2), speedup_most=round(ratios[-1], 2),
    )  # fmt: skip
    print('\n'.join(f'{key:16} {value}' for key, value in row.items()))
    if args.out:
        unfinished = args.out.with_suffix('.tmp')
        with unfinished.open('w', newline='') as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader(), writer.writerow(row)
        os.replace(unfinished, args.out)
    return 0


if __name__ == '__main__':
    cli.run(main)

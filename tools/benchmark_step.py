"""Time a training step of a detector on a CPU as torch does it, with channels-last weights, and with freed memory kept too.

    python tools/benchmark_step.py configs/ssdlite_tinynet_d_coco.py --out results/training_step.csv

Random images at the config's size; forward, losses, backward and the optimizer's step are inside the clock, loading is not. The
three take turns, each in a process of its own, and a speedup is that of each turn.
"""

import argparse
import csv
import os
import platform
import statistics
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from tinynet_mm import cli
from tinynet_mm.bench.batches import random_batch
from tinynet_mm.mmlab import configs
from tinynet_mm.training.cpu import keep_freed_memory

# how weights lie, and whether freed memory is kept
CONTENDERS = {
    'plain': (torch.contiguous_format, False),
    'channels_last': (torch.channels_last, False),
    'and_memory_kept': (torch.channels_last, True),
}
WARM_UP = 3


def timed_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, data: dict) -> float:
    """Seconds of one training step."""
    started = time.perf_counter()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    optimizer.zero_grad()
    model.parse_losses(losses)[0].backward()
    optimizer.step()
    return time.perf_counter() - started


def work(pipe: Connection, config: str, batch: int, layout: torch.memory_format, keep: bool) -> None:
    """A process that makes a step for each message and answers with its seconds, until it is sent None."""
    keep_freed_memory(keep)
    cfg = configs.load_config(config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = random_batch(cfg.model.bbox_head.input_size, batch)
    while pipe.recv():
        pipe.send(timed_step(model, optimizer, data))


def start(*settings) -> Connection:
    """The near end of the pipe to a new worker; each has a process of its own, since the allocator's settings are a process's."""
    context = get_context('spawn')
    near, far = context.Pipe()
    context.Process(target=work, args=(far, *settings), daemon=True).start()
    return near


def spread(ordered: list[float]) -> tuple[float, float, float]:
    """Median, least, most."""
    return statistics.median(ordered), ordered[0], ordered[-1]


def machine() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else []
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=10, help='turns, after three that are not counted')
    parser.add_argument('--out', type=Path, help='a CSV file for the row')
    args = parser.parse_args(argv)
    workers = {name: start(args.config, args.batch, *settings) for name, settings in CONTENDERS.items()}
    turns = []
    for _ in range(args.rounds + WARM_UP):
        turns.append({})
        for name, pipe in workers.items():
            pipe.send('step')
            turns[-1][name] = pipe.recv()
    for pipe in workers.values():
        pipe.send(None)
    turns = turns[WARM_UP:]
    row = dict(
        config=Path(args.config).stem, batch=args.batch, rounds=args.rounds, threads=torch.get_num_threads(), precision='fp32',
        cores=os.cpu_count(), machine=machine(), torch=torch.__version__, load=round(os.getloadavg()[0], 1),
    )  # fmt: skip
    for name in CONTENDERS:
        row[f'{name}_s'] = round(statistics.median(turn[name] for turn in turns), 3)
        ratios = sorted(turn['plain'] / turn[name] for turn in turns)
        row |= {f'{name}_speedup{key}': round(value, 2) for key, value in zip(('', '_least', '_most'), spread(ratios))}
    print('\n'.join(f'{key:32} {value}' for key, value in row.items()))
    if args.out:
        unfinished = args.out.with_suffix('.tmp')
        with unfinished.open('w', newline='') as file:
            writer = csv.DictWriter(file, row)
            writer.writeheader(), writer.writerow(row)
        os.replace(unfinished, args.out)
    return 0


if __name__ == '__main__':
    cli.run(main)

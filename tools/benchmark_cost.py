"""How fast networks are costed: the closed form, over arrays and one by one, against torch's and mmengine's counters.

    python tools/benchmark_cost.py

All of them take turns on the same random networks in this run; the counters' times include building the network, since they
cannot do without (torch's on the meta device, mmengine's as its documentation has it). Takes about two minutes.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.analysis import get_model_complexity_info

from tinynet_mm.archs import EFFICIENTNET_B0, Arch, Scaling, scale
from tinynet_mm.cost import cost, scaled_cost
from tinynet_mm.deploy.export import Classifier
from tinynet_mm.deploy.latency import machine
from tinynet_mm.errors import run
from tinynet_mm.files import write_csv
from tinynet_mm.formula import sample_band
from tinynet_mm.mmlab.counting import count_images
from tinynet_mm.models import ScaledEfficientNet


def by_torch(arch: Arch) -> int:
    with torch.device('meta'):
        return count_images(Classifier(ScaledEfficientNet(arch)), arch.resolution).macs


def by_mmengine(arch: Arch) -> int:
    model = Classifier(ScaledEfficientNet(arch)).eval()
    sides = (3, arch.resolution, arch.resolution)
    return get_model_complexity_info(model, sides, show_table=False, show_arch=False)['flops']


def timed(call: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def compare(rounds: int, candidates: int) -> list[dict]:
    """Each round times one network by each counter, and ``candidates`` by the array form; rows with median and spread."""
    rng = np.random.default_rng(0)
    r, w, d = rng.uniform(0.35, 2.8, size=(3, candidates))
    archs = [scale(EFFICIENTNET_B0, Scaling(**{n: row[n] for n in 'rwd'})) for row in sample_band(rounds, rng)]
    one_by_one = dict(closed_form=lambda a: cost(a).macs, torch_meta=by_torch, mmengine=by_mmengine)
    seconds, worst = {name: [] for name in ('closed_form_array', *one_by_one)}, dict.fromkeys(one_by_one, 0.0)
    for method in one_by_one.values():
        method(archs[0])  # warm up
    for index, arch in enumerate(archs):
        spent, _ = timed(lambda: scaled_cost(EFFICIENTNET_B0, Scaling(r=r, w=w, d=d)))
        seconds['closed_form_array'].append(spent / candidates)
        for name, method in one_by_one.items():
            spent, macs = timed(lambda method=method, arch=arch: method(arch))
            seconds[name].append(spent)
            worst[name] = max(worst[name], abs(macs / cost(arch).macs - 1))
        print(f'\rround {index + 1} of {rounds}', end='', flush=True)
    return [_row(name, times, seconds, worst.get(name, 0.0), candidates) for name, times in seconds.items()]


def _row(name: str, times: list[float], seconds: dict, worst: float, candidates: int) -> dict:
    row = dict(method=name, networks=candidates if name == 'closed_form_array' else len(times), rounds=len(times))
    measured = dict(seconds=times, times_mmengine=np.array(seconds['mmengine']) / np.array(times))
    for what, values in measured.items():
        for percentile, word in ((10, 'p10'), (50, 'median'), (90, 'p90')):
            row[f'{what}_{word}'] = f'{np.percentile(values, percentile):.3g}'
    row |= dict(networks_per_second=f'{1 / np.median(times):.3g}', largest_macs_difference=f'{worst:.2g}')
    versions = dict(torch=torch.__version__, python=platform.python_version())
    return row | versions | dict(threads=torch.get_num_threads(), load=f'{os.getloadavg()[0]:.1f}', machine=machine())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--candidates', type=int, default=1_000_000, help='networks in the array form, each round')
    parser.add_argument('--out', type=Path, default=Path('results/cost_rate.csv'))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = compare(args.rounds, args.candidates)
    print()
    for row in rows:
        print(f'{row["method"]:18} {row["networks_per_second"]:>10} networks/s   {row["times_mmengine_median"]} x mmengine')
    print(f'rows: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    run(main)

"""Time a training step of a detector on a CPU as torch does it, with channels-last weights, and with freed memory kept too.

    python tools/benchmark_step.py configs/ssdlite_tinynet_d_coco.py --out results/training_step.csv

Random images at the config's size; forward, losses, backward and the optimizer's step are inside the clock, loading is not. The
three take turns, each in a process of its own, and a speedup is that of each turn.
"""

import argparse
from pathlib import Path

from tinynet_mm.errors import run
from tinynet_mm.files import write_csv


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--rounds', type=int, default=10, help='turns, after three that are not counted')
    parser.add_argument('--out', type=Path, help='a CSV file for the row')
    args = parser.parse_args(argv)
    from tinynet_mm.bench.step import compare

    row = compare(args.config, args.batch, args.rounds)
    print('\n'.join(f'{key:32} {value}' for key, value in row.items()))
    if args.out:
        write_csv(args.out, [row])
    return 0


if __name__ == '__main__':
    run(main)

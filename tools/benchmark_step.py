"""Time a training step of a detector on a CPU: plain torch, channels-last weights, and freed memory kept too.

    python tools/benchmark_step.py configs/ssdlite_tinynet_d_coco.py --out results/training_step.csv

The input is random images of the config's size. The time includes the forward pass, the losses, the backward pass and the
optimizer's step, but not loading. The three variants take turns, each in a separate process; the speedup is that of each round.
"""

import argparse
from functools import partial

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of an SSDLite detector')
    parser.add_argument('--batch', type=int, default=8, help='images per step, 2 or more (default %(default)s)')
    parser.add_argument('--rounds', type=int, default=10, help='rounds after three for warm-up (default %(default)s)')
    parser.add_argument('--out', type=cli.path, help='CSV file for the row')
    args = parser.parse_args(argv)
    from tinynet_mm.bench.step import compare

    if args.out:
        check_writable(args.out)
    row = compare(args.config, args.batch, args.rounds, partial(cli.progress, title='rounds'))
    print('\n'.join(f'{key:32} {value}' for key, value in row.items()))
    if args.out:
        print(f'written: {write_csv(args.out, [row])}')
    return 0


if __name__ == '__main__':
    cli.run(main)

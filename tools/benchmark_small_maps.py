"""Time training steps on small images with torch's convolutions and with those of FastCPUHook(small_maps=True).

    python tools/benchmark_small_maps.py efficientnet_b0 --sides 20 28 40 56 --out results/training_small_maps.csv

The step is the forward and backward pass of a backbone in one thread, with channels-last weights, on random images; both take
turns in one process. The speedup is that of each round: median, least, most.
"""

import argparse
from functools import partial

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('archs', nargs='+', metavar='ARCH', help='names of presets, for instance efficientnet_b0')
    parser.add_argument('--sides', type=cli.positive, nargs='+', default=[32], help='sides of the input (default: 32)')
    parser.add_argument('--batch', type=int, default=64, help='images per step, 2 or more (default %(default)s)')
    parser.add_argument('--rounds', type=cli.positive, default=10, help='rounds after two for warm-up (default %(default)s)')
    parser.add_argument('--out', type=cli.path, help='CSV file for the rows')
    args = parser.parse_args(argv)
    from tinynet_mm.bench.small_maps import compare_all

    if args.out:
        check_writable(args.out)
    rows = compare_all(args.archs, args.sides, args.batch, args.rounds, partial(cli.progress, title='rounds'))
    for row in rows:
        print(
            '{arch} {side} px: {torch_s} s, {ours_s} s, {speedup} ({speedup_least} to {speedup_most}) times faster'.format(**row)
        )
    if args.out:
        print(f'written: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    cli.run(main)

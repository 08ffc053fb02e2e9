"""Time a training step of detectors on a CPU.

    python tools/benchmark_step.py configs/ssdlite_tinynet_d_coco.py --out results/training_step.csv
    python tools/benchmark_step.py rtmdet_tinynet_d_coco@416 ssdlite_tinynet_d_coco@512 --threads 1
    python tools/benchmark_step.py rtmdet_tinynet_e_coco --threads 1 2

One detector is timed in plain torch, with channels-last weights, and with freed memory kept too. Several detectors, or several
numbers of threads, are timed with both, and times_first is the ratio to the first one in each round (median, least, most).

The input is random images of the config's size, or of the size after @. The time includes the forward pass, the losses, the
backward pass and the optimizer's step, but not loading. All take turns, each in a process of its own.
"""

import argparse
from functools import partial

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_csv


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.completes_configs(parser.add_argument('configs', nargs='+', metavar='CONFIG', help='configs of detectors'))
    parser.add_argument('--threads', type=cli.positive, nargs='+', help='numbers of threads (default: one for several detectors)')
    parser.add_argument('--batch', type=int, default=8, help='images per step, 2 or more (default %(default)s)')
    parser.add_argument('--rounds', type=int, default=10, help='rounds after three for warm-up (default %(default)s)')
    parser.add_argument('--out', type=cli.path, help='CSV file for the rows')
    args = parser.parse_args(argv)
    from tinynet_mm.bench import step

    if args.out:
        check_writable(args.out)
    progress = partial(cli.progress, title='rounds')
    if len(args.configs) == 1 and not args.threads:
        rows = [step.compare(args.configs[0], args.batch, args.rounds, progress)]
    else:
        rows = step.compare_detectors(args.configs, args.threads or [1], args.batch, args.rounds, progress)
    for row in rows:
        print('\n'.join(f'{key:32} {value}' for key, value in row.items()), end='\n\n')
    if args.out:
        print(f'written: {write_csv(args.out, rows)}')
    return 0


if __name__ == '__main__':
    cli.run(main)

"""Kill a small training at random moments, continue it each time, and compare its weights with those of one that ran through.

    python tools/benchmark_survival.py --out results/reliability.csv
    python tools/benchmark_survival.py --kills 4 --terms 2 --epochs 3           # a shorter trial

The training is that of a detector on drawn shapes, on one thread of the CPU, with augmentation and averaged weights.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=cli.count, default=20, help='SIGKILLs, half of them while saving (default %(default)s)')
    parser.add_argument('--terms', type=cli.count, default=5, help='SIGTERMs (default %(default)s)')
    parser.add_argument('--epochs', type=cli.positive, default=30, help='length of the training (default %(default)s)')
    parser.add_argument('--seed', type=cli.count, default=0, help='of the order and the moments (default %(default)s)')
    parser.add_argument('--runs', type=cli.path, default=Path('work_dirs/survival'), help='new folder for data and trainings')
    parser.add_argument(
        '--out', type=cli.path, default=Path('reliability.csv'), help='CSV file; the row is added (default %(default)s)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.bench import survival
    from tinynet_mm.files import check_writable, read_csv, write_csv

    check_writable(args.out)
    command = survival.small_training(Path(__file__).parent, args.runs, args.epochs, images=32, size=96)
    settings = (args.runs / 'trainings', f'epoch_{args.epochs}.pth', args.kills, args.terms, args.seed)
    row = survival.compare(command, *settings, longest=4.0, note=lambda text: print(text, flush=True))
    rows = read_csv(args.out) if args.out.is_file() else []
    write_csv(args.out, [*rows, row])
    print('\n'.join(f'{key:22} {value}' for key, value in row.items()))
    return 0


if __name__ == '__main__':
    cli.run(main)

"""Train a small detector for 10,000 steps and watch its memory, open files and threads.

    python tools/benchmark_soak.py --out results/soak.csv       # half an hour on one core
    python tools/benchmark_soak.py --epochs 20

The training is that of a detector on drawn shapes of 64 pixels, with augmentation, averaged weights, validations and checkpoints.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli

IMAGES, SIZE, BATCH = 80, 64, 2  # 40 steps in an epoch
SECONDS = 5.0  # between two looks


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--epochs', type=cli.positive, default=250, help='of 40 steps (default %(default)s)')
    parser.add_argument('--runs', type=cli.path, default=Path('work_dirs/soak'), help='new folder for data and training')
    parser.add_argument('--out', type=cli.path, default=Path('soak.csv'), help='CSV file (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.bench import soak, survival
    from tinynet_mm.files import check_writable, write_csv

    check_writable(args.out)
    command = survival.small_training(Path(__file__).parent, args.runs, args.epochs, IMAGES, SIZE, BATCH)
    row = soak.summary(soak.watch(command, args.runs / 'training', SECONDS, lambda seen: print(seen, flush=True)))
    write_csv(args.out, [row])
    print('\n'.join(f'{key:20} {value}' for key, value in row.items()))
    return 0


if __name__ == '__main__':
    cli.run(main)

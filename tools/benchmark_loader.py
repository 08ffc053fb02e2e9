"""Time our SSD pipeline and mmdet's stock one, in turn on each image, in one thread; writes a CSV with the environment.

    python tools/benchmark_loader.py                             # generated 640x480 JPEGs with 14 boxes each
    python tools/benchmark_loader.py --data-root DIR --size 320

The command needs a minute. It reports milliseconds of CPU time per image from the file to the packed tensor, by stage, and the
ratio stock / ours with its spread.
"""

import argparse
import tempfile
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_csv


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of the command line; ``argv`` replaces ``sys.argv`` in tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data-root', type=cli.path, help='a data set in COCO format to read instead of generated images')
    parser.add_argument('--size', type=int, default=512, help='side of the output in pixels (default %(default)s)')
    parser.add_argument('--images', type=int, default=100, help='images per round (default %(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='rounds after the warm-up round (default %(default)s)')
    parser.add_argument(
        '--out', type=cli.path, default=Path('results/loader.csv'), help='the CSV file to write (default %(default)s)'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Write the CSV and print its rows; returns the exit status."""
    args = parse_arguments(argv)
    from tinynet_mm.bench.loader import benchmark, drawn_samples, protocol, samples_of, table

    check_writable(args.out)
    with tempfile.TemporaryDirectory() as folder:
        samples = samples_of(args.data_root, args.images) if args.data_root else drawn_samples(Path(folder), args.images)
        spent = benchmark(samples, args.size, args.rounds)
    rows = table(spent)
    source = args.data_root.name if args.data_root else '640x480 drawn'
    about = protocol(samples, args.size, args.rounds, source)
    write_csv(args.out, [row | about for row in rows])
    for row in rows:
        print('{pipeline:<13} {stage:<22} {median:>7.2f} {unit:<9} ({least:.2f} to {most:.2f})'.format(**row))
    print(f'written: {args.out}')
    return 0


if __name__ == '__main__':
    cli.run(main)

"""Compare detectors on one data set: train each with several seeds, and write a row for each training.

    python tools/benchmark_detection.py configs/rtmdet_tinynet_e_coco.py configs/ssdlite_tinynet_e_coco.py --data-root my_data
    python tools/benchmark_detection.py ... --seeds 0 1 2 --jobs 2 --out detection.csv

Trainings use the short schedule and one CPU thread each. Rows in --out are kept and not measured again, and an interrupted
training continues: give the same command again after ctrl-C. Accuracies are those of the last checkpoint; best_val_mAP is that of
the best epoch.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='configs of detectors with --input-size')
    parser.add_argument('--data-root', type=cli.path, required=True, help='folder of the data set')
    parser.add_argument('--seeds', type=cli.count, nargs='+', default=[0], help='a training for each (default 0)')
    parser.add_argument('--input-size', type=cli.positive, default=320, help='side of the input in pixels (default %(default)s)')
    parser.add_argument('--epochs', type=cli.positive, default=40, help='length of each training (default %(default)s)')
    parser.add_argument('--weights', type=cli.path, metavar='FILE', help='weights of the backbone (default: random weights)')
    parser.add_argument('--jobs', type=cli.positive, default=1, help='trainings at the same time (default %(default)s)')
    parser.add_argument('--runs', type=cli.path, default=Path('work_dirs/benchmark'), help='folder of the work directories')
    parser.add_argument('--out', type=cli.path, default=Path('detection.csv'), help='CSV file (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    from tabulate import tabulate

    from tinynet_mm.bench.detection import compare, table

    settings = (args.data_root, args.seeds, args.input_size, args.epochs, args.runs, args.out, Path(__file__).parent)
    rows = compare(args.configs, *settings, args.jobs, cli.note, args.weights)
    print(tabulate(list(table(rows)), 'keys'))
    print(f'written: {args.out}')
    return 0


if __name__ == '__main__':
    cli.run(main, 'stopped; the same command continues.')

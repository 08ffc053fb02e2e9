"""Draw accuracy against cost from tables of results: the paper's figures 1, 6 and 7, with the front and names.

    python tools/plot_results.py results/paper_imagenet.csv --y top1 --group family --out figure7.png    # --x macs, or params
    python tools/plot_results.py accuracy.csv latency.csv --x median_ms --y top1 --group runtime         # two tables, one figure
    python tools/plot_results.py results/detection.csv --y val_mAP --group config --label input_size --where data=bccd

MACs and parameters are raw integers in the tables. Rows with `paper` in the column `source` have a separate marker and front.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.files import read_csv


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'tables',
        nargs='+',
        type=cli.path,
        metavar='CSV',
        help='tables; a row without a score takes it from the row of the same name and source',
    )
    parser.add_argument('--x', default='macs', help='column of the cost: macs (default), params, median_ms, or any other')
    parser.add_argument('--y', default='accuracy', help='column of the score (default accuracy)')
    parser.add_argument('--label', default='name', help='column of the names (default name)')
    parser.add_argument('--group', help='column of the groups; each has a colour, and a line if it has few points')
    parser.add_argument(
        '--where', nargs='+', default=[], metavar='COLUMN=VALUE', help='draw only the rows with these values, like data=bccd'
    )
    parser.add_argument('--out', type=cli.path, default=Path('results.png'), help='PNG, PDF or SVG by the suffix')
    return parser.parse_args(argv)


def named(row: dict) -> dict:
    """A row of a table of latencies, which has ``model`` instead of ``name``, with both."""
    return row if 'name' in row or 'model' not in row else row | dict(name=row['model'])


def main(argv: list[str] | None = None) -> int:
    """Draw the figure; returns the exit code."""
    args = parse_arguments(argv)
    from tinynet_mm import plots

    plots.check_suffix(args.out)
    rows = plots.select_rows([named(row) for table in args.tables for row in read_csv(table)], args.where)
    points, notes = plots.read_points(rows, args.x, args.y, args.label, args.group)
    plots.save(plots.tradeoff(points, args.x, args.y), args.out)
    for note in notes:
        print(f'note: {note}')
    print(f'{args.y} against {args.x}, points: {len(points)}, in {args.out}')
    return 0


if __name__ == '__main__':
    cli.run(main)

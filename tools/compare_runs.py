"""Write the final accuracy of trained classifiers as a table: mean and deviation over seeds, test, averaged and raw weights.

    python tools/compare_runs.py work_dirs/cifar10/* --out results/cifar10.csv --protocol "2 cores of an EPYC, fp32"

Reads the logs of complete trainings of tools/train.py, and the metrics.json of tools/test.py; the runs of one network and one
learning rate with several seeds are one row.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def score(row: dict, key: str) -> str:
    """Return a score with its standard deviation as text."""
    spread = f' +- {row[f"{key}_std"]:.2f}' if row[f'{key}_std'] != '' else ''
    return f'{row[key]:.2f}{spread}' if row[key] != '' else 'none'


def main(argv: list[str] | None = None) -> int:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', type=cli.path, help='work directories of trainings')
    parser.add_argument('--out', type=cli.path, default=Path('comparison.csv'))
    parser.add_argument('--protocol', default='', help='machine, threads, precision; a column of the table')
    args = parser.parse_args(argv)
    from tinynet_mm.training.summary import pool, read_runs, write_csv

    rows = pool(read_runs(args.work_dirs))
    write_csv(rows, args.out, args.protocol)
    for row in rows:
        averaged, raw, tested = (score(row, key) for key in ('top1', 'raw_top1', 'test_top1'))
        cost = f'{row["macs"] / 1e6:.1f} M multiply-adds, {row["params"] / 1e6:.2f} M parameters at {row["resolution"]} pixels'
        print(f'{row["name"]:<18} lr {row["lr"]:g} top-1 {averaged} (raw {raw}), test {tested}, seeds: {row["seeds"]}; {cost}')
    print(f'written: {args.out}')
    return 0


if __name__ == '__main__':
    cli.run(main)

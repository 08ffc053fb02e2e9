"""Write the tables of the documentation: networks of the paper, counted, and the measured latencies.

python tools/make_tables.py             writes results/tables.csv, docs/tables.md and docs/latency.md, in seconds
python tools/make_tables.py --readme    prints the README's tables of backbones and of latency

The counts are of every network that the paper's tables 1, 2, 3, 5 and 6 define. docs/latency.md comes from results/latency*.csv
and results/int8.csv, which tools/latency.py and tools/benchmark_int8.py write.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli
from tinynet_mm.files import check_writable, write_text

ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Run the command line ``argv``; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--csv', type=cli.path, default=ROOT / 'results' / 'tables.csv', help='default: results/tables.csv')
    parser.add_argument('--docs', type=cli.path, default=ROOT / 'docs' / 'tables.md', help='default: docs/tables.md')
    parser.add_argument('--latency', type=cli.path, default=ROOT / 'docs' / 'latency.md', help='default: docs/latency.md')
    parser.add_argument('--readme', action='store_true', help='only print the tables of the README, from the CSV files')
    args = parser.parse_args(argv)
    from tinynet_mm.bench import tables
    from tinynet_mm.paper.tables import make_rows, read_csv, readme_table, to_csv, to_markdown

    if args.readme:
        print(readme_table(read_csv(args.csv)), tables.readme_table(ROOT / 'results'), sep='\n\n')
        return 0
    for path in (args.csv, args.docs, args.latency):
        check_writable(path)
    rows, page = make_rows(), tables.make_page(ROOT / 'results')
    write_text(args.csv, to_csv(rows))
    write_text(args.docs, to_markdown(rows))
    write_text(args.latency, page)
    print(f'{len(rows)} rows written to {args.csv} and {args.docs}; {args.latency} written')
    return 0


if __name__ == '__main__':
    cli.run(main)

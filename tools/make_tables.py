"""Write the tables of the documentation and of the README: networks of the paper, counted, detectors and latencies, measured.

    python tools/make_tables.py      # in seconds

The counts are of every network that the paper's tables 1, 2, 3, 5 and 6 define. docs/latency.md comes from results/latency*.csv
and results/int8.csv, which tools/latency.py and tools/benchmark_int8.py write; the table of detectors comes from
results/detection.csv, which tools/benchmark_detection.py writes, and that of the compared ways to shrink a network from
results/sweep_cifar10/rows.csv.
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
    pages = [ROOT / 'README.md', ROOT / 'docs' / 'benchmarks.md', ROOT / 'docs' / 'formula.md']
    help_text = 'default: README.md, docs/benchmarks.md and docs/formula.md'
    parser.add_argument('--pages', type=cli.path, nargs='+', default=pages, help=help_text)
    args = parser.parse_args(argv)
    from tinynet_mm.bench import readme, tables
    from tinynet_mm.paper.tables import make_rows, to_csv, to_markdown

    results, paths = ROOT / 'results', (args.csv, args.docs, args.latency, *args.pages)
    for path in paths:
        check_writable(path)
    rows, page = make_rows(), tables.make_page(results)
    filled = readme.all_tables(results, rows)
    texts = [readme.fill(path.read_text(), filled) for path in args.pages]
    write_text(args.csv, to_csv(rows))
    write_text(args.docs, to_markdown(rows))
    write_text(args.latency, page)
    for path, text in zip(args.pages, texts):
        write_text(path, text)
    print(f'{len(rows)} rows; written: {", ".join(map(str, paths))}')
    return 0


if __name__ == '__main__':
    cli.run(main)

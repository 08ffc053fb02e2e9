"""Read mutated files with the readers of this package, and keep each case that does not end with a result or one sentence.

    python tools/fuzz.py --minutes 10                       # ten minutes for each reader
    python tools/fuzz.py --reader coco voc --minutes 1 --seed 3

The readers are those of data sets, images, logs, sweeps, tables, descriptions and checkpoints. A finding is a folder with the
files of the case and a traceback. The exit status is 1 if there are findings.
"""

import argparse
from pathlib import Path

from tinynet_mm import cli


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=10.0, help='for each reader (default %(default)g)')
    parser.add_argument('--reader', nargs='+', metavar='NAME', help='only these readers (default all)')
    parser.add_argument('--seed', type=cli.count, default=0, help='of the cases (default %(default)s)')
    findings = Path('work_dirs/fuzz')
    parser.add_argument('--out', type=cli.path, default=findings, help='folder of the findings (default %(default)s)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(argv)
    import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
    from tinynet_mm.bench.fuzz import fuzz
    from tinynet_mm.bench.fuzz_readers import READERS
    from tinynet_mm.errors import UserError, did_you_mean
    from tinynet_mm.files import write_csv

    names = args.reader or list(READERS)
    if unknown := [name for name in names if name not in READERS]:
        raise UserError(f'no reader {unknown[0]!r}.{did_you_mean(unknown[0], READERS)} The readers are {", ".join(READERS)}.')
    rows = []
    for name in names:
        rows.append(fuzz(name, args.minutes, args.seed, args.out / name))
        print(', '.join(f'{key} {value}' for key, value in rows[-1].items()), flush=True)
        write_csv(args.out / f'{"-".join(args.reader or ["all"])}.csv', rows)
    return int(any(row['findings'] for row in rows))


if __name__ == '__main__':
    cli.run(main)

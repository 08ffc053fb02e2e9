"""The tables of the README and of docs/benchmarks.md, written between their markers from the files in ``results``.

A table is between ``<!-- NAME: written by tools/make_tables.py -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..files import read_csv
from ..paper import tables as paper
from ..paper.printed import BUILT, IMAGENET
from . import tables as latency
from .detection import grouped

BACKBONES = [f'TinyNet-{letter}' for letter in 'ABCDE'] + [f'EfficientNet-B{n}' for n in (0, -1, -2, -3, -4)]
REGION = re.compile(r'(<!-- (\w+): written by tools/make_tables.py -->\n).*?(<!-- end -->)', re.DOTALL)


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Replace the content of each region of a Markdown text by its table.

    Raises:
        UserError: no region, or one without a table.
    """
    names = [found[2] for found in REGION.finditer(text)]
    if not names or set(names) - set(tables):
        raise UserError(f'the regions of the page are {names}; give it some of {list(tables)}.')
    return REGION.sub(lambda found: f'{found[1]}\n{tables[found[2]]}\n\n{found[3]}', text)


def all_tables(results: Path, networks: Sequence[paper.Row]) -> dict[str, str]:
    """The tables by the names of their regions; ``networks`` are the rows of results/tables.csv."""
    return dict(
        backbones=backbones_table(networks),
        detectors=detectors_table(read_csv(results / 'detection.csv')),
        latency=latency.readme_table(results),
    )


def backbones_table(networks: Sequence[paper.Row]) -> str:
    """The backbones: our counts, and the figures that the paper prints."""
    of_table_3, accuracy = {row.network: row for row in networks if row.table == 3}, {row.name: row.top1 for row in IMAGENET}
    lines = []
    for name in BACKBONES:
        row = of_table_3[name]
        counts = [(row.params, 2), (row.paper_params, 1), (row.macs, 1), (row.paper_macs, 0)]
        cells = [paper.millions(value, digits) for value, digits in counts]
        lines.append([name, f'`{BUILT[name]}`', str(row.input), *cells, f'{accuracy[name]}'])
    head = ['network', 'arch', 'input', 'params (M)', 'paper', 'MACs (M)', 'paper', 'ImageNet top-1 (paper)']
    return paper.markdown_table(head, lines, text=(0, 1))


def detectors_table(rows: Sequence[dict]) -> str:
    """The detectors by data set, the best one first: cost, CPU time, and the mean accuracy of the seeds with its range."""
    groups = sorted(grouped(rows).values(), key=lambda group: (group[0]['data'], -_mean(group, 'val_mAP')))
    head = ['data', 'detector', 'val mAP', 'test mAP', 'MACs (M)', 'params (M)', 'CPU minutes', 'input', 'epochs', 'seeds']
    return paper.markdown_table(head, map(_line, groups), text=(0, 1))


def _line(rows: Sequence[Mapping]) -> list[str]:
    """One line of the table of detectors, from the rows of its seeds."""
    first = rows[0]
    counts = [f'{float(first["macs"]) / 1e6:.0f}', f'{float(first["params"]) / 1e6:.2f}', f'{_mean(rows, "cpu_minutes"):.0f}']
    scores = [_scores(rows, name) for name in ('val_mAP', 'test_mAP')]
    settings = [str(first['input_size']), str(first['epochs']), str(len(rows))]
    return [str(first['data']), f'`{first["config"]}`', *scores, *counts, *settings]


def _mean(rows: Sequence[Mapping], name: str) -> float:
    return sum(float(row[name]) for row in rows) / len(rows)


def _scores(rows: Sequence[Mapping], name: str) -> str:
    """Mean and range of a score; a dash for data without the split."""
    if any(row[name] in ('', None) for row in rows):
        return '–'
    values = [float(row[name]) for row in rows]
    return f'{_mean(rows, name):.3f}' + (f' ({min(values):.3f} to {max(values):.3f})' if len(rows) > 1 else '')

"""The tables of the README and of docs/benchmarks.md, written between their markers from the files in ``results``.

A table is between ``<!-- NAME: written by tools/make_tables.py -->`` and ``<!-- end -->``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..files import read_csv
from ..paper import tables as paper
from ..paper.printed import BUILT, IMAGENET
from ..sweep import comparison, figures
from . import tables as latency
from .detection import grouped

BACKBONES = [f'TinyNet-{letter}' for letter in 'ABCDE'] + [f'EfficientNet-B{n}' for n in (0, -1, -2, -3, -4)]
NEIGHBOURS = {
    'mobilenetv2_100': 'MobileNetV2 1.0x',
    'ghostnet_100': 'GhostNet 1.0x',
    'mobilenetv3_small_100': 'MobileNetV3-Small 1.0x',
    'mobilenetv3_small_075': 'MobileNetV3-Small 0.75x',
    'mobilenetv3_small_050': 'MobileNetV3-Small 0.5x',
    'lcnet_050': 'LCNet 0.5x',
}  # in timm, and timed in results/latency.csv
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
        backbones=backbones_table(
            backbones(networks, read_csv(results / 'latency.csv'), read_csv(results / 'timm_imagenet.csv'))
        ),
        detectors=detectors_table(read_csv(results / 'detection.csv')),
        latency=latency.readme_table(results),
        sweep=sweep_table(read_csv(results / 'sweep_cifar10' / 'rows.csv')),
    )


def sweep_table(rows: Sequence[dict]) -> str:
    """The networks that a sweep compared at its budgets: accuracy with its 95 % interval, and how far the formula is ahead."""
    cells = []
    for line in figures.summary(rows):
        network = [figures.LABELS[line['method']], *(f'{line[key]:.2f}' for key in 'rwd'), f'{line["macs"] / 1e6:.2f}']
        interval = f' ({line["low"]:.1f} to {line["high"]:.1f})' if line['seeds'] > 1 else ''
        scores = [str(line['seeds']), f'{line["mean"]:.1f}{interval}', '–', '–']
        if line['p'] != '':
            ahead = [f'{line[key]:+.1f}'.replace('-', '−') for key in ('ahead', 'ahead_low', 'ahead_high')]
            scores[2:] = ['{} ({} to {})'.format(*ahead), f'{line["p_holm"]:.2g}' if line['p_holm'] else '< 0.0001']
        cells.append([*network, *scores])
    top1 = f'{comparison.images_of(rows)} top-1 %'
    head = ['network', 'r', 'w', 'd', 'MACs (M)', 'seeds', top1, 'the formula is ahead by', 'p (Welch, Holm)']
    return paper.markdown_table(head, cells)


@dataclass(frozen=True)
class Backbone:
    """A line of the table of backbones; ``paper_top1`` and ``timm_top1`` are None where nothing is published."""

    name: str
    arch: str
    side: int
    params: int
    macs: int
    paper_top1: float | None
    timm_top1: float | None
    milliseconds: float

    def better_than(self, other: 'Backbone') -> bool:
        """Whether this network is faster and more accurate, by timm's measurement where there is one."""
        own, others = self.timm_top1 or self.paper_top1, other.timm_top1 or other.paper_top1
        return bool(own and others and own > others and self.milliseconds < other.milliseconds)


def backbones(networks: Sequence[paper.Row], times: Sequence[Mapping], timm: Sequence[Mapping]) -> list[Backbone]:
    """The paper's networks and those of timm that were timed beside them, the largest first.

    Args:
        networks: the rows of results/tables.csv.
        times: the rows of results/latency.csv.
        timm: the rows of results/timm_imagenet.csv, accuracies that timm published.
    """
    timed = {str(row['model']): row for row in times if latency.runtime_of(row) == 'onnxruntime'}
    measured = {str(row['name']): float(row['top1']) for row in timm}
    of_table_3, top1 = {row.network: row for row in networks if row.table == 3}, {row.name: row.top1 for row in IMAGENET}
    found = []
    for name in BACKBONES:
        row, arch = of_table_3[name], BUILT[name]
        scores = top1[name], measured.get(arch)
        found.append(Backbone(name, arch, row.input, row.params, row.macs, *scores, float(timed[arch]['median_ms'])))
    for model, name in NEIGHBOURS.items():
        line = timed[f'timm:{model}']
        side, milliseconds = int(line['height']), float(line['median_ms'])
        cost = paper.Compared('timm', model, side).cost()
        found.append(Backbone(name, f'timm:{model}', side, cost.params, cost.macs, None, measured[model], milliseconds))
    return sorted(found, key=lambda line: -line.macs)


def backbones_table(lines: Sequence[Backbone]) -> str:
    """The backbones: our counts and times, and the accuracies that the paper and timm publish.

    A network of timm is in bold if it is faster and more accurate than one of the paper's.
    """
    cells = []
    for line in lines:
        better = any(line.better_than(other) for other in lines if not other.arch.startswith('timm:'))
        bold = '**' if better and line.arch.startswith('timm:') else ''
        scores = [f'{value:.1f}' if value else '–' for value in (line.paper_top1, line.timm_top1)]
        counts = [paper.millions(line.params, 2), paper.millions(line.macs, 1)]
        cells.append([f'{bold}{line.name}{bold}', f'`{line.arch}`', str(line.side), *counts, *scores, f'{line.milliseconds:.1f}'])
    head = ['network', 'arch', 'input', 'params (M)', 'MACs (M)', 'top-1 (paper)', 'top-1 (timm)', 'ms']
    return paper.markdown_table(head, cells, text=(0, 1))


def detectors_table(rows: Sequence[dict]) -> str:
    """The detectors by data set, the best one first: cost, CPU time, and the mean accuracy of the seeds with its range."""
    groups = sorted(grouped(rows).values(), key=lambda group: (group[0]['data'], -_mean(group, 'val_mAP')))
    head = ['data', 'detector', 'val mAP', 'test mAP', 'MACs (M)', 'params (M)', 'CPU minutes', 'input', 'epochs', 'seeds']
    return paper.markdown_table(head, map(_line, groups), text=(0, 1))


def _line(rows: Sequence[Mapping]) -> list[str]:
    """One line of the table of detectors, from the rows of its seeds."""
    first = rows[0]
    counts = [f'{float(first["macs"]) / 1e6:.0f}', f'{float(first["params"]) / 1e6:.2f}', _minutes(rows)]
    scores = [_scores(rows, name) for name in ('val_mAP', 'test_mAP')]
    settings = [str(first['input_size']), str(first['epochs']), str(len(rows))]
    return [str(first['data']), f'`{first["config"]}`', *scores, *counts, *settings]


def _minutes(rows: Sequence[Mapping]) -> str:
    """Mean of the CPU minutes of the rows that have them; a dash if all were trained on a GPU."""
    on_cpu = [row for row in rows if row['cpu_minutes'] not in ('', None)]
    return f'{_mean(on_cpu, "cpu_minutes"):.0f}' if on_cpu else '–'


def _mean(rows: Sequence[Mapping], name: str) -> float:
    return sum(float(row[name]) for row in rows) / len(rows)


def _scores(rows: Sequence[Mapping], name: str) -> str:
    """Mean and range of a score; a dash for data without the split."""
    if any(row[name] in ('', None) for row in rows):
        return '–'
    values = [float(row[name]) for row in rows]
    return f'{_mean(rows, name):.3f}' + (f' ({min(values):.3f} to {max(values):.3f})' if len(rows) > 1 else '')

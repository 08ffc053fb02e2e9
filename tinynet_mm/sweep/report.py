"""The report of a sweep: figures 1, 2, 3 and 6 of the paper as PNG, and an HTML page with the same figures, interactive.

The page is one file with its data, its script and inline SVG; it loads nothing from the network.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..errors import UserError
from ..files import read_csv, write_csv, write_text
from ..formula.frontier import spearman_texts
from ..formula.tiny import TinyFormula
from ..plots.style import save, styled
from . import figures
from .comparison import images_of
from .folder import COMMAND, RANDOM, Sweep

TEMPLATE = Path(__file__).with_name('page.html')
SHOWN = ('name', 'method', 'target', 'seed', 'r', 'w', 'd', 'resolution', 'c', 'macs', 'params', 'accuracy')


def write(sweep: Sweep) -> tuple[Path, list[str]]:
    """Write the directory report/ with the figures for which the sweep has data.

    Returns:
        the path of the page, and a sentence for each figure that is left out.

    Raises:
        FileNotFoundError: rows.csv is missing.
        UserError: a table is incomplete, or front.csv does not match rows.csv.
    """
    rows, folder, notes = sweep.rows(), sweep.path / 'report', []
    front = (
        read_csv(sweep.path / 'front.csv', ('r', 'w', 'd', 'c', 'macs', 'accuracy'))
        if (sweep.path / 'front.csv').exists()
        else []
    )
    if lost := [row['name'] for row in front if row['name'] not in {row['name'] for row in rows}]:
        raise UserError(f'front.csv has {lost[0]}, which rows.csv lacks; write it again with: {COMMAND} fit {sweep.path}')
    formula = TinyFormula.load(sweep.path / 'formula.json') if (sweep.path / 'formula.json').exists() else None
    one_budget = at_one_budget(rows)
    compared = figures.summary(rows)

    def draw(name: str, ready: bool, missing: str, make: Callable[..., Figure], *args: object) -> None:
        if ready:
            with styled():
                save(make(*args), folder / name)
        else:
            notes.append(missing)

    random = any(row['method'] == RANDOM for row in rows)
    draw('figure1_front.png', random, 'no figure 1: no random network is trained.', figures.front_figure, rows, front)
    needs = (
        f'no figure 2: it needs networks of one budget; {COMMAND} sample {sweep.path} --add --budget 0.5, then run and collect.'
    )
    draw('figure2_one_budget.png', len(one_budget) > 1, needs, figures.budget_figure, one_budget)
    needs = f'no figure 3: there is no formula; {COMMAND} fit {sweep.path}'
    settings = sweep.settings()
    curves = figures.fit_curves(formula, settings.base, settings.classes) if front and formula else None
    draw('figure3_fit.png', bool(curves), needs, figures.fit_figure, front, curves)
    needs = f'no figure 6: nothing to compare; {COMMAND} compare {sweep.path}, then run and collect.'
    draw('figure6_methods.png', bool(compared), needs, figures.methods_figure, rows)
    if compared:
        write_csv(folder / 'table1.csv', compared)
    return write_text(folder / 'index.html', page(_content(sweep, rows, front, curves, one_budget, notes))), notes


def at_one_budget(rows: list[dict]) -> list[dict]:
    """Return the random networks of the budget with most networks; empty if no budget was given."""
    drawn = [row for row in rows if row['method'] == RANDOM and row['target'] != '']
    if not drawn:
        return []
    common = Counter(row['target'] for row in drawn).most_common(1)[0][0]
    return [row for row in drawn if row['target'] == common]


def page(content: dict) -> str:
    """Return the HTML page with ``content`` as its data."""
    data = json.dumps(content, allow_nan=False).replace('<', '\\u003c')
    return TEMPLATE.read_text().replace('/*DATA*/null', data)


def _content(
    sweep: Sweep,
    rows: list[dict],
    front: list[dict],
    curves: dict[str, np.ndarray] | None,
    one_budget: list[dict],
    notes: list[str],
) -> dict:
    left_out = sweep.path / 'left_out.csv'
    return dict(
        title=sweep.path.resolve().name,
        protocol=protocol(sweep, rows),
        notes=notes,
        rows=[{key: row[key] for key in SHOWN} for row in rows],
        front=[row['name'] for row in front],
        line=[row['name'] for row in figures.undominated(front)] if front else [],
        spearman=spearman_texts(front) if curves else None,
        fit=_fit(front, curves) if curves else None,
        budget=[row['name'] for row in one_budget],
        table=figures.summary(rows),
        left_out=read_csv(left_out) if left_out.exists() else [],
        labels=figures.LABELS | {RANDOM: 'sampled', 'front': 'best'},
        colours=figures.COLOUR,
        dimensions=figures.DIMENSIONS,
    )


def _fit(front: list[dict], curves: dict[str, np.ndarray]) -> dict[str, list[float]]:
    base = front[0]['macs'] / front[0]['c']
    rounded = {key: [round(float(v), 5) for v in values] for key, values in curves.items()}
    return rounded | dict(macs=[c * base for c in rounded['c']])


def protocol(sweep: Sweep, rows: list[dict]) -> list[str]:
    """Return sentences on how the accuracies were measured."""
    settings = sweep.settings()
    values = {key: ', '.join(sorted({str(row[key]) for row in rows})) for key in ('epochs', 'images', 'device')}
    hours = sum(row['seconds'] or 0 for row in rows) / 3600
    return [
        f'Base: {settings.base.name} at {settings.base.resolution} pixels, {settings.classes} classes.',
        f'Each network: {values["epochs"]} epochs of {values["images"]} images.',
        f'{len(rows)} trainings, {hours:.1f} hours in total, on {values["device"]}.',
        f'Accuracy is top-1 on the validation images after the last epoch{_read_once(rows)}.',
        'MACs are multiply-adds for one image.',
    ]


def _read_once(rows: list[dict]) -> str:
    tested = images_of(rows) == 'test'
    return '; that of the compared networks is on the test images, which the search does not read' if tested else ''

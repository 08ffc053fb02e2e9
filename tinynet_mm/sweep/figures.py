"""Figures 1, 2, 3 and 6 of the paper (NeurIPS 2020) for a user-defined sweep; each function returns a Figure."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..archs import Arch
from ..cost import cost
from ..formula.frontier import non_dominated_ranks, spearman_texts
from ..formula.solve import cost_meter, nearest, widths
from ..formula.tiny import TinyFormula, equation5
from ..plots.style import COLOURS, MARKERS, new_figure
from . import comparison
from .folder import RANDOM

LABELS = {
    'tiny': 'tiny formula (fitted here)',
    'giant': 'inverted giant formula',
    'r': 'resolution alone',
    'd': 'depth alone',
    'w': 'width alone',
    'best_random': 'best random network of the budget, trained again',
    'front_member': 'network of the front, trained again',
}
COLOUR = dict(zip(LABELS, COLOURS)) | {RANDOM: '#9a9a9a', 'front': '#C1121F'}
MARKER = dict(zip(LABELS, MARKERS))
DIMENSIONS = {'r': 'resolution', 'd': 'depth', 'w': 'width'}


def summary(rows: Sequence[dict]) -> list[dict]:
    """One row for each budget and method: its network, the accuracy (mean in per cent; std is n - 1, 0 for one seed), the seeds.

    The statistics of :func:`.comparison.table` are part of each row. ``accuracy`` may be that on the test images; ``validation``
    is the mean on the validation images, as for the networks of the search.
    """
    result = []
    for line in comparison.table(rows):
        group = [row for row in rows if (row['target'], row['method']) == (line['target'], line['method'])]
        numbers = {key: group[0][key] for key in ('r', 'w', 'd', 'resolution', 'c', 'macs', 'params')}
        validation = round(float(np.mean([row['accuracy'] for row in group])), 3)
        result.append(line | dict(accuracy=line['mean'], std=line['std'] or 0.0, validation=validation) | numbers)
    return result


def front_figure(rows: Sequence[dict], front: Sequence[dict]) -> Figure:
    """Draw figure 1: accuracy against MACs of all networks, the front, and the networks of the rules, if any."""
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    random = [row for row in rows if row['method'] == RANDOM]
    axes.plot(*_points(random), 'o', color=COLOUR[RANDOM], ms=4, label=f'{len(random)} sampled networks')
    if front:
        axes.plot(*_points(undominated(front)), '-', color=COLOUR['front'], lw=1)
        axes.plot(*_points(front), 'o', color=COLOUR['front'], ms=5, label=f'best {len(front)}')
    for method, group in _methods(rows):
        if method in ('tiny', 'giant'):
            axes.plot(
                *_points(group, 'validation'), MARKER[method] + '--', color=COLOUR[method], ms=6, lw=1, label=LABELS[method]
            )
    return _finish(figure, axes, 'multiply-adds (M)', 'top-1 accuracy on the validation images (%)')


def undominated(front: Sequence[dict]) -> list[dict]:
    """Return the Pareto front, sorted by MACs: the best share of a sweep also contains networks of the next fronts."""
    ranks = non_dominated_ranks([row['accuracy'] for row in front], [row['macs'] for row in front])
    return sorted((row for row, rank in zip(front, ranks) if rank == 0), key=lambda row: row['macs'])


def budget_figure(rows: Sequence[dict]) -> Figure:
    """Draw figure 2: accuracy against r, d and w of networks of one budget."""
    figure = new_figure(9.6, 3.3)
    low, high = min(row['macs'] for row in rows) / 1e6, max(row['macs'] for row in rows) / 1e6
    figure.suptitle(f'{len(rows)} networks of {low:.2f} to {high:.2f} M multiply-adds', fontsize=10)
    for axes, (key, name) in zip(figure.subplots(1, 3, sharey=True), DIMENSIONS.items()):
        axes.plot([row[key] for row in rows], [row['accuracy'] for row in rows], 'o', color=COLOURS[0], ms=5)
        axes.set_xlabel(f'{name} {key}')
    figure.axes[0].set_ylabel('validation top-1 accuracy (%)')
    return figure


def fit_figure(front: Sequence[dict], curves: dict[str, np.ndarray]) -> Figure:
    """Draw figure 3: r, d and w of the front against MACs, rank correlations, and the ``curves`` of the formula."""
    figure = new_figure(9.6, 3.3)
    ranks = spearman_texts(list(front))
    base_macs = front[0]['macs'] / front[0]['c'] / 1e6
    for axes, (key, name) in zip(figure.subplots(1, 3), DIMENSIONS.items()):
        costs, values = [row['macs'] / 1e6 for row in front], [row[key] for row in front]
        axes.plot(costs, values, 'o', color=COLOUR['front'], label=f'best {len(front)}')
        c, curve = curves['c'] * base_macs, curves[key]
        axes.plot(c, curve, color=COLOURS[0], label='formula' if key != 'w' else 'solved on true costs')
        if key == 'w':
            axes.plot(c, curves['w_ideal'], '--', color=COLOURS[0], lw=1, label='equation 5')
        else:
            std = curves[f'{key}_std']
            axes.fill_between(c, curve - 2 * std, curve + 2 * std, color=COLOURS[0], alpha=0.15, lw=0, label='± 2 deviations')
        axes.set_title(f'{name}: Spearman {ranks[key]}')
        axes.set_xlabel('multiply-adds (M)')
        axes.set_ylabel(f'{name} {key}')
        axes.legend()
    return figure


def fit_curves(formula: TinyFormula, base: Arch, classes: int, count: int = 80) -> dict[str, np.ndarray]:
    """Return ``count`` values of c in the fitted range with r, d, their deviations, and w, solved and by equation 5.

    Widths are solved on true costs for the predicted r and d, before these are moved to meet the budget.
    """
    c = np.geomspace(*formula.range, count)
    at, macs = formula.predict(c), cost(base, classes=classes).macs
    pairs = list(zip(c, at['r'], at['d']))
    meter = cost_meter('macs', classes)
    solved = [nearest(widths(base, r, d), ratio * macs, meter)[0].value for ratio, r, d in pairs]
    return dict(c=c, w=np.array(solved), w_ideal=np.array([equation5(*values) for values in pairs]), **at)


def methods_figure(rows: Sequence[dict]) -> Figure:
    """Draw figure 6: accuracy against MACs of the rules, mean and deviation over seeds; one budget as in `intervals_figure`."""
    if len({row['target'] for row in rows if row['method'] != RANDOM}) == 1:
        return intervals_figure(rows)
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    for method, group in _methods(rows):
        x, y = _points(group)
        axes.errorbar(
            x,
            y,
            yerr=[row['std'] for row in group],
            color=COLOUR[method],
            marker=MARKER[method],
            lw=2 if method == 'tiny' else 1,
            capsize=2,
            label=LABELS[method],
        )
    axes.set_title(f'mean ± deviation of {_seeds(rows)} trainings')
    return _finish(figure, axes, 'multiply-adds (M)', 'top-1 accuracy (%)')


def intervals_figure(rows: Sequence[dict]) -> Figure:
    """Draw the accuracy of each method at one budget: the trainings, their mean, and its 95 % interval."""
    table, values = summary(rows)[::-1], comparison.accuracies(rows)
    figure = new_figure(8.4, 0.45 * len(table) + 1.1)
    axes = figure.subplots()
    for place, row in enumerate(table):
        single, colour = values[row['target'], row['method']], COLOUR[row['method']]
        axes.plot(single, np.full(len(single), place), 'o', color='black', ms=3, alpha=0.4, zorder=4)
        if row['low'] != '':
            axes.plot([row['low'], row['high']], [place, place], '-', color=colour, lw=3)
        axes.plot(row['mean'], place, 'D', color=colour, ms=6)
    axes.set_yticks(range(len(table)), [LABELS[row['method']] for row in table])
    title = f'{table[0]["target"]:g} of the MACs of the base: mean of {_seeds(rows)} trainings and its 95 % interval'
    figure.suptitle(title, fontsize=10)
    axes.set_xlabel(f'top-1 accuracy on the {comparison.images_of(rows)} images (%)')
    return figure


def _seeds(rows: Sequence[dict]) -> str:
    return ' or '.join(map(str, sorted({row['seeds'] for row in summary(rows)})))


def _points(rows: Sequence[dict], key: str = 'accuracy') -> tuple[list[float], list[float]]:
    return [row['macs'] / 1e6 for row in rows], [row[key] for row in rows]


def _methods(rows: Sequence[dict]) -> list[tuple[str, list[dict]]]:
    """Return each rule with its summaries, sorted by MACs."""
    table = summary(rows)
    groups = ((method, [row for row in table if row['method'] == method]) for method in LABELS)
    return [(method, sorted(group, key=lambda row: row['macs'])) for method, group in groups if group]


def _finish(figure: Figure, axes: Axes, x: str, y: str) -> Figure:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(loc='best')
    return figure

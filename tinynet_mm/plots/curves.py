"""Learning curves of one or several runs: the paper's figure 4 for classifiers, losses and mAP for detectors, or selected keys.

Training curves are smoothed (an exponential mean over both sides) and drawn above the raw curve. Validation curves are not
smoothed and have markers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from scipy.signal import lfilter

from tinynet_mm import logs
from tinynet_mm.logs import Run

from ..errors import UserError
from .style import COLOURS, LARGEST, MARKERS, SCORES, axis_name, check_suffix, new_figure, save, styled

_COLUMNS = 3
_KEYS = 20  # most curves of a run in one of the default panels
_RUNS_IN_PANEL = 6  # more runs get one legend, below the figure
_NOISY = ('loss', 'acc', 'time', 'grad')
_SHORT = 20  # number of log lines below which curves are not smoothed


@dataclass(frozen=True)
class Panel:
    """One panel of a figure: a title, and the keys drawn in it, as 'train/KEY' or 'val/KEY'."""

    title: str
    keys: tuple[str, ...]


def check_smoothing(weight: float) -> None:
    """Check the weight of smoothing.

    Raises:
        UserError: ``weight`` is not in [0, 1).
    """
    if not 0 <= weight < 1:
        raise UserError(
            f'smoothing is {weight}; give the weight of the neighbours in the mean, from 0 (no smoothing) to below 1.'
        )


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Return the mean of each value (N,) and its neighbours, with weights ``weight ** distance``.

    Neighbours on both sides are used, so that the curve has no lag. NaN and infinite values become NaN and do not affect others.
    """
    finite = np.flatnonzero(np.isfinite(values))
    known = np.stack([values[finite], np.ones(len(finite))])  # values and the sums of their weights
    past = lfilter([1.0], [1.0, -weight], known)
    future = lfilter([1.0], [1.0, -weight], known[:, ::-1])[:, ::-1]
    total, weights = past + future - known
    smoothed = np.full(len(values), np.nan)
    smoothed[finite] = total / weights
    return smoothed


def default_panels(runs: Sequence[Run]) -> tuple[Panel, ...]:
    """Return the default panels: accuracy and losses for classifiers (figure 4), losses and mAP for detectors.

    Parts of the loss, mAP at an IoU of 0.5, and the accuracy of the weights before averaging are drawn for a single run only. The
    loss of the weights before averaging starts so high that the other curves would be flat, so it is left out.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    alone = len(runs) == 1
    validation = [key for key in keys if key.startswith('val/') and (alone or '/raw/' not in key)]
    totals = [key for key in keys if key.startswith('train/') or key in validation]
    losses = [key for key in totals if key.endswith(('/loss', '/cross_entropy')) or (alone and 'loss' in key.split('/')[-1])]
    accuracies = [key for key in validation if key.endswith('top1')]
    maps = [key for key in validation if key.endswith(('mAP', 'mAP_50') if alone else 'mAP')]
    panels = [
        Panel('Validation accuracy', tuple(accuracies)),
        Panel('Loss', tuple(key for key in losses if '/raw/' not in key)),
        Panel('Validation mAP', () if accuracies else tuple(maps)),
    ]
    panels = [Panel(panel.title, panel.keys[:_KEYS]) for panel in panels if panel.keys]
    return tuple(panels) or tuple(Panel(key, (key,)) for key in keys[:_COLUMNS])


@dataclass(frozen=True)
class _Line:
    """One curve: a key of a run; ``weight`` is the smoothing, 0 for none."""

    places: np.ndarray
    values: np.ndarray
    label: str
    colour: int
    dashed: bool
    train: bool
    weight: float

    def draw(self, axes: Axes) -> None:
        """Draw the curve, with the raw curve behind a smoothed one."""
        values = self.values
        look: dict[str, Any] = dict(color=COLOURS[self.colour % len(COLOURS)], linestyle='--' if self.dashed else '-')
        if self.weight:
            axes.plot(self.places, values, color=look['color'], linewidth=0.8, alpha=0.3)
            values = smooth(values, self.weight)
        if not self.train or len(values) == 1:
            look.update(marker=MARKERS[self.colour % len(MARKERS)], markersize=3.5, markevery=max(1, len(values) // 25))
        axes.plot(self.places, values, label=self.label, **look)


def _best(places: np.ndarray, values: np.ndarray, unit: str) -> str:
    """Return the highest value of a score, for the legend."""
    finite = np.flatnonzero(np.isfinite(values))
    best = max(finite, key=lambda k: values[k], default=None)
    return '' if best is None else f' (best {values[best]:.3g} at {unit} {places[best]:g})'


def _lines(runs: Sequence[Run], panel: Panel, smoothing: float, unit: str) -> list[_Line]:
    """Return the curves of a panel: a colour per run, or per key of a single run; validation is dashed next to training."""
    names = list(dict.fromkeys(key.split('/', 1)[1] for key in panel.keys))
    splits, alone, lines = {key.split('/')[0] for key in panel.keys}, len(runs) == 1, []
    for number, run in enumerate(runs):
        for key in panel.keys:
            places, values = run.series(key, unit == 'epoch')
            values = np.where(np.abs(values) <= LARGEST, values, np.nan)
            if not len(values):
                continue
            split, name = key.split('/', 1)
            words = ([] if alone else [run.name]) + ([name] if alone or len(names) > 1 else [])
            label = ' '.join(words) + (f', {split}' if len(splits) > 1 else '')
            if split == 'val' and any(score in name for score in SCORES):
                label += _best(places, values, unit)
            noisy = split == 'train' and len(values) >= _SHORT and any(word in name for word in _NOISY)
            dashed = len(splits) > 1 and split == 'val' or not alone and name != names[0]
            lines.append(
                _Line(places, values, label, names.index(name) if alone else number, dashed, split == 'train', smoothing * noisy)
            )
    return lines


def _draw(axes: Axes, panel: Panel, lines: Sequence[_Line], unit: str) -> None:
    for line in lines:
        line.draw(axes)
    values = np.concatenate([line.values[np.isfinite(line.values)] for line in lines] or [np.empty(0)])
    names = list(dict.fromkeys(key.split('/', 1)[1] for key in panel.keys))
    axes.set(title=panel.title, xlabel=unit, ylabel=axis_name(names[0], values.max(initial=0)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins='auto', integer=True, min_n_ticks=1))
    if '[0 to 1]' in axes.get_ylabel():
        axes.set_ylim(bottom=0)
    if 'loss' in names[0] and len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale('log')
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.yaxis.set_minor_formatter(NullFormatter())


def learning_curves(runs: Sequence[Run], keys: Sequence[str | Panel] | None = None, smoothing: float = 0.6) -> Figure:
    """Draw the curves of ``runs`` over epochs, or over iterations if not all runs count epochs, with one panel per key.

    Args:
        runs: what :func:`tinynet_mm.logs.read` returns.
        keys: see :func:`tinynet_mm.logs.select`, or panels; None for :func:`default_panels`.
        smoothing: weight of the neighbours of a value in the mean, 0 for none.

    Raises:
        UserError: a key is unknown (the message lists the keys), or the smoothing is not in [0, 1).
    """
    panels = panels_of(runs, keys)
    check_smoothing(smoothing)
    unit = 'epoch' if all(run.by_epoch for run in runs) else 'iteration'
    columns = min(len(panels), _COLUMNS)
    rows = -(-len(panels) // columns)
    with styled():
        figure = new_figure(width=4.6 * columns, height=3.4 * rows + 0.2)
        for number, panel in enumerate(panels, 1):
            axes = figure.add_subplot(rows, columns, number, sharex=figure.axes[0] if figure.axes else None)
            _draw(axes, panel, _lines(runs, panel, smoothing, unit), unit)
            if len(runs) <= _RUNS_IN_PANEL:
                axes.legend(loc='best', frameon=True, framealpha=0.8, edgecolor='none')
        if len(runs) > _RUNS_IN_PANEL:
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=columns)
    return figure


def panels_of(runs: Sequence[Run], keys: Sequence[str | Panel] | None) -> tuple[Panel, ...]:
    """Return one panel per key (a panel stays what it is), or the default panels without keys.

    Raises:
        UserError: a key is unknown.
    """
    if not keys:
        return default_panels(runs)
    return tuple(key if isinstance(key, Panel) else Panel(key, tuple(logs.select(runs, key))) for key in keys)


def write_curves(
    paths: Iterable[str | Path], out: str | Path, keys: Sequence[str] | None = None, smoothing: float = 0.6
) -> list[Run]:
    """Draw the runs in ``paths`` to ``out`` (PNG, PDF or SVG), and write their numbers to a CSV file of the same name.

    Returns the runs; their ``notes`` say what was joined or left out. Raises as :func:`tinynet_mm.logs.read` and
    :func:`learning_curves`.
    """
    check_suffix(out)
    check_smoothing(smoothing)
    runs = logs.read(paths)
    save(learning_curves(runs, keys, smoothing), out)
    logs.write_csv(runs, [key for panel in panels_of(runs, keys) for key in panel.keys], Path(out).with_suffix('.csv'))
    return runs

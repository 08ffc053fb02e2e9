"""Learning curves of one run or several: the paper's figure 4 for classifiers, losses and mAP for detectors, or chosen keys.

Training is drawn smoothed (an exponential mean over both sides) above its raw curve, validation as it is, with markers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.signal import lfilter

from tinynet_mm import logs
from tinynet_mm.logs import Run

from ..errors import UserError
from .style import COLOURS, MARKERS, SCORES, axis_name, check_suffix, new_figure, save, styled

_COLUMNS = 3
_RUNS_IN_PANEL = 6  # more are named once, below the figure
_NOISY = ('loss', 'acc', 'time', 'grad')
_SHORT = 20  # lines of a log below which a mean would hide more than it shows


@dataclass(frozen=True)
class Panel:
    """One pair of axes: a title, and the keys drawn in it, as 'train/KEY' or 'val/KEY'."""

    title: str
    keys: tuple[str, ...]


def check_smoothing(weight: float) -> None:
    """ValueError unless ``weight`` is from 0 (no smoothing) to below 1."""
    if not 0 <= weight < 1:
        raise UserError(f'smoothing is {weight}; it is the weight of the neighbours in the mean, from 0 (none) to below 1.')


def smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """Mean of each value with its neighbours, which count weight^distance; both sides, so that the curve does not lag behind.

    NaN and infinities stay gaps and do not spread.
    """
    finite = np.flatnonzero(np.isfinite(values))
    known = np.stack([values[finite], np.ones(len(finite))])  # values and their masses run through the same filter
    past = lfilter([1.0], [1.0, -weight], known)
    future = lfilter([1.0], [1.0, -weight], known[:, ::-1])[:, ::-1]
    total, mass = past + future - known
    smoothed = np.full(len(values), np.nan)
    smoothed[finite] = total / mass
    return smoothed


def default_panels(runs: Sequence[Run]) -> tuple[Panel, ...]:
    """Accuracy and losses for classifiers (figure 4), losses and mAP for detectors, of whatever the runs have logged so far.

    Parts of the loss, mAP at an IoU of 0.5, and the accuracy of the raw weights beside that of their average are drawn for a
    single run only. The loss of raw weights, which starts high, would flatten the others.
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
    panels = [panel for panel in panels if panel.keys]
    return tuple(panels) or tuple(Panel(key, (key,)) for key in keys[:_COLUMNS])


@dataclass(frozen=True)
class _Line:
    """A key of a run, as it is drawn; ``weight`` is the smoothing, 0 for none."""

    places: np.ndarray
    values: np.ndarray
    label: str
    colour: int
    dashed: bool
    train: bool
    weight: float

    def draw(self, axes: Axes) -> None:
        values, look = self.values, dict(color=COLOURS[self.colour % len(COLOURS)], linestyle='--' if self.dashed else '-')
        if self.weight:
            axes.plot(self.places, values, color=look['color'], linewidth=0.8, alpha=0.3)
            values = smooth(values, self.weight)
        if not self.train or len(values) == 1:
            look.update(marker=MARKERS[self.colour % len(MARKERS)], markersize=3.5, markevery=max(1, len(values) // 25))
        axes.plot(self.places, values, label=self.label, **look)


def _best(places: np.ndarray, values: np.ndarray, unit: str) -> str:
    """What a legend says of a score's highest value."""
    finite = np.flatnonzero(np.isfinite(values))
    best = max(finite, key=lambda k: values[k], default=None)
    return '' if best is None else f' (best {values[best]:.3g} at {unit} {places[best]:g})'


def _lines(runs: Sequence[Run], panel: Panel, smoothing: float, unit: str) -> list[_Line]:
    """Colours tell runs apart, or the keys of a single run; dashes the validation from the training beside it."""
    names = list(dict.fromkeys(key.split('/', 1)[1] for key in panel.keys))
    splits, alone, lines = {key.split('/')[0] for key in panel.keys}, len(runs) == 1, []
    for number, run in enumerate(runs):
        for key in panel.keys:
            places, values = run.series(key, unit == 'epoch')
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


def learning_curves(runs: Sequence[Run], keys: Sequence[str] | None = None, smoothing: float = 0.6) -> Figure:
    """Curves of ``runs`` over epochs, or over iterations where not all runs count epochs; a panel for each key.

    ``keys`` as :func:`tinynet_mm.logs.select` takes them; None for :func:`default_panels`. ``smoothing`` is the weight of a
    value's neighbours in the mean, 0 for none. Raises ValueError for an unknown key, with those there are.
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


def panels_of(runs: Sequence[Run], keys: Sequence[str] | None) -> tuple[Panel, ...]:
    """A panel for each of the chosen keys, or the default ones."""
    return tuple(Panel(key, tuple(logs.select(runs, key))) for key in keys) if keys else default_panels(runs)


def write_curves(
    paths: Iterable[str | Path], out: str | Path, keys: Sequence[str] | None = None, smoothing: float = 0.6
) -> list[Run]:
    """Draw the runs found under ``paths`` to ``out`` (PNG, PDF or SVG) and write their numbers to a CSV beside it.

    Returns the runs, whose ``notes`` say what was joined or left out. Errors as :func:`tinynet_mm.logs.read`.
    """
    check_suffix(out)
    check_smoothing(smoothing)
    runs = logs.read(paths)
    save(learning_curves(runs, keys, smoothing), out)
    logs.write_csv(runs, [key for panel in panels_of(runs, keys) for key in panel.keys], Path(out).with_suffix('.csv'))
    return runs

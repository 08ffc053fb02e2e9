"""The common parts of all figures: a style that applies within a context only, colours for the colour-blind, and saving.

The colours are those of Okabe and Ito (2008), "Color Universal Design", without yellow, which is not visible on white.
Matplotlib's global settings are not changed. Figures are created without pyplot, so they are garbage-collected and need no
display.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..errors import UserError
from ..files import atomic

COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X')
LARGEST = 1e300  # value that is drawn; matplotlib fails if the length of an axis is infinite
SUFFIXES = ('.png', '.pdf', '.svg')
SCORES = ('accuracy', 'top1', 'top5', 'mAP', 'AP', 'precision', 'recall', 'f1')  # higher is better
UNITS = {
    'lr': 'learning rate',
    'time': 'time per iteration [s]',
    'data_time': 'time for data per iteration [s]',
    'memory': 'memory [MB]',
    'macs': 'multiply-adds [M]',
    'params': 'parameters [M]',
    'activations': 'activations [M]',
    'latency_ms': 'latency [ms]',
    'median_ms': 'latency, median [ms]',
    'mean_ms': 'latency, mean [ms]',
}
MILLIONS = ('macs', 'params', 'activations')  # raw integers in files, divided by a million on axes

_STYLE: dict[Any, Any] = {
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.labelsize': 9,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e3e3e3',
    'grid.linewidth': 0.6,
    'legend.fontsize': 8,
    'legend.frameon': False,
    'lines.linewidth': 1.6,
    'figure.dpi': 160,  # names are placed in pixels, so the dpi must be that of the file
    'savefig.dpi': 160,
    'pdf.fonttype': 42,
    'svg.fonttype': 'none',
    'text.parse_math': False,  # names with a $ are no formulas
    'svg.hashsalt': 'tinynet_mm',
}


def styled() -> AbstractContextManager:
    """Return the context in which our figures are drawn and saved; matplotlib's settings are restored at its end."""
    return mpl.rc_context(_STYLE)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches, not registered in pyplot; call it inside :func:`styled`."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def check_suffix(path: str | Path) -> Path:
    """Check the suffix of a figure's path, before long work; returns the path.

    Raises:
        UserError: the suffix is not .png, .pdf or .svg.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f'{path}: the suffix sets the format and must be one of {", ".join(SUFFIXES)}.')
    return path


def save(figure: Figure, path: str | Path) -> Path:
    """Write ``figure`` atomically as PNG, PDF or SVG, by the suffix; returns the path.

    Raises:
        UserError: the suffix is not supported, or the file cannot be written.
    """
    path = check_suffix(path)
    with styled(), atomic(path) as temporary:
        figure.savefig(temporary)
    return path


def axis_name(key: str, highest: float) -> str:
    """Return the label of the axis for a key or column, with its unit.

    Scores are in per cent if their ``highest`` value is above 1, otherwise fractions.
    """
    if any(score in key for score in SCORES):
        return f'{key} [%]' if highest > 1 else f'{key} [0 to 1]'
    return UNITS.get(key, key.removesuffix('_ms') + ' [ms]' if key.endswith('_ms') else key)

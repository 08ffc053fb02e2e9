"""The figures of a report from its rows: precision against recall, and the confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..plots import COLOURS, new_figure, styled
from .scores import ClassScores

RECALL = np.linspace(0, 1, 101)
LONGEST = 24  # letters of a name on an axis
NUMBERED = 16  # number of classes above which the cells have no numbers


def precision_recall(classes: Sequence[ClassScores]) -> Figure:
    """Draw precision against recall at IoU 0.5, one curve for each class with boxes; many classes are grey, with their mean."""
    shown = [row for row in classes if row.boxes]
    few = len(shown) <= len(COLOURS)
    with styled():
        figure = new_figure(width=5.2, height=4.2)
        axes = figure.add_subplot()
        for k, row in enumerate(shown):
            look: dict[str, Any] = dict(color='#bdbdbd', linewidth=0.7)
            if few:
                look = dict(color=COLOURS[k], label=f'{row.name}, AP50 {row.ap50:.3f}')
            axes.plot(RECALL, row.precision, **look)
        if shown and not few:
            mean = np.mean([row.precision for row in shown], axis=0)
            axes.plot(RECALL, mean, color=COLOURS[0], linewidth=2.4, label=f'mean of {len(shown)} classes')
        axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1.01), ylim=(0, 1.03))
        if shown:
            axes.legend(loc='lower left', frameon=True, framealpha=0.85, edgecolor='none')
    return figure


def confusion_figure(matrix: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw a confusion matrix (K + 1, K + 1): counts as numbers, the share of the row as colour."""
    labels = [name if len(name) <= LONGEST else f'{name[: LONGEST - 1]}…' for name in (*names, 'background')]
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    side = min(14.0, max(3.6, 1.6 + 0.52 * len(labels)))
    with styled():
        names_width = 0.08 * max(map(len, labels))  # inches
        figure = new_figure(width=side + names_width, height=side + 0.6 * names_width)
        axes = figure.add_subplot()
        axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
        axes.grid(False)
        small = 9 if len(labels) <= NUMBERED else 5
        axes.set_xticks(range(len(labels)), labels, rotation=35 if len(labels) <= NUMBERED else 90, ha='right', fontsize=small)
        axes.set_yticks(range(len(labels)), labels, fontsize=small)
        axes.set(xlabel='detected', ylabel='ground truth')
        if len(labels) <= NUMBERED:
            for (row, column), count in np.ndenumerate(matrix):
                if (row, column) != (len(names), len(names)):
                    colour = 'white' if shares[row, column] > 0.55 else 'black'
                    axes.text(column, row, f'{count}', ha='center', va='center', color=colour, fontsize=9)
    return figure

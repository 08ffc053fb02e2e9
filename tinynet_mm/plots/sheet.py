"""A sheet of detections: for each image the ground truth and the predictions next to each other, with classes and scores.

Each class has a colour and an entry in the legend, if there are enough colours. Each box shows its class too, unless an image has
too many boxes and the legend shows the classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..errors import UserError
from .style import COLOURS, new_figure, styled

CROWDED = 12  # number of boxes in an image above which a box shows its score only


@dataclass(frozen=True)
class Boxes:
    """The boxes of one image.

    ``boxes`` (N, 4) are x1, y1, x2, y2 in pixels, ``labels`` (N,) class indices, ``scores`` (N,) or None for the ground truth.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes, labels = np.asarray(self.boxes, dtype=float).reshape(-1, 4), np.asarray(self.labels, dtype=int).reshape(-1)
        scores = None if self.scores is None else np.asarray(self.scores, dtype=float).reshape(-1)
        if len(labels) != len(boxes) or (scores is not None and len(scores) != len(boxes)):
            counts = f'{len(boxes)} boxes, {len(labels)} labels' + ('' if scores is None else f', {len(scores)} scores')
            raise UserError(f'{counts}: each box needs one label, and one score if scores are given.')
        for name, value in (('boxes', boxes), ('labels', labels), ('scores', scores)):
            object.__setattr__(self, name, value)


def _check(
    images: Sequence[np.ndarray], ground_truth: Sequence[Boxes], predictions: Sequence[Boxes], classes: Sequence[str]
) -> None:
    if not len(images) == len(ground_truth) == len(predictions) > 0:
        counts = f'{len(images)} images, {len(ground_truth)} ground truths, {len(predictions)} predictions'
        raise UserError(f'{counts}: a sheet needs at least one image, and one ground truth and one prediction for each.')
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise UserError(f'an image is {image.dtype} {image.shape}; give RGB arrays of uint8, shaped (height, width, 3).')
    for found in (*ground_truth, *predictions):
        if found.labels.size and not 0 <= found.labels.min() <= found.labels.max() < len(classes):
            raise UserError(f'labels go from {found.labels.min()} to {found.labels.max()}, but there are {len(classes)} classes.')


def _write(axes: Axes, corner: np.ndarray, text: str, colour: str, shape: tuple[int, ...]) -> None:
    """Write a tag above the upper left corner of a box; below it at the top of the image, to its left at the right border."""
    (x, y), (height, width) = corner, shape[:2]
    right, top = x > 0.85 * width, y < 0.06 * height
    axes.text(
        width if right else max(x, 0),
        max(y, 0),
        text,
        fontsize=5,
        color='white',
        bbox=dict(boxstyle='square,pad=0.12', facecolor=colour, edgecolor='none', alpha=0.9),
        clip_on=True,
        ha='right' if right else 'left',
        va='top' if top else 'bottom',
    )


def _draw(axes: Axes, image: np.ndarray, found: Boxes, colours: dict[int, str], names: Sequence[str] | None) -> None:
    """Draw the image, its boxes in the colours of their classes, and their classes (unless ``names`` is None) and scores."""
    axes.imshow(image, interpolation='antialiased')
    axes.set_axis_off()
    ranks = np.zeros(len(found.boxes)) if found.scores is None else found.scores
    for k in np.argsort(ranks, kind='stable'):  # the highest score is drawn last
        (x1, y1, x2, y2), label = found.boxes[k], int(found.labels[k])
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colours[label], linewidth=1.2))
        words = [names[label]] if names else []
        words += [f'{found.scores[k]:.2f}'] if found.scores is not None else []
        if words:
            _write(axes, found.boxes[k, :2], ' '.join(words), colours[label], image.shape)


def _pairs(figure: Figure, count: int, columns: int) -> list[tuple[Axes, Axes]]:
    """Return ``count`` pairs of axes, with less space within a pair than between pairs."""
    grid = figure.add_gridspec(-(-count // columns), 3 * columns - 1, width_ratios=([1, 1, 0.03] * columns)[:-1])
    cells = [(k // columns, 3 * (k % columns)) for k in range(count)]
    return [(figure.add_subplot(grid[row, column]), figure.add_subplot(grid[row, column + 1])) for row, column in cells]


def detection_sheet(
    images: Sequence[np.ndarray],
    ground_truth: Sequence[Boxes],
    predictions: Sequence[Boxes],
    classes: Sequence[str],
    columns: int = 2,
) -> Figure:
    """Draw the ground truth and the predictions of each image next to each other.

    Args:
        images: uint8 RGB arrays (H, W, 3); a sheet is readable with four to eight images.
        ground_truth: boxes of each image.
        predictions: boxes of each image; all are drawn, so remove low scores before.
        classes: class names.
        columns: number of images in a row of the sheet.

    Raises:
        UserError: counts, shapes or labels do not match.
    """
    _check(images, ground_truth, predictions, classes)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    aspect = float(np.mean([image.shape[0] / image.shape[1] for image in images]))
    present = sorted({int(label) for found in (*ground_truth, *predictions) for label in found.labels})
    coloured = range(len(classes)) if len(classes) <= len(COLOURS) else present  # the same colours on all sheets, if possible
    colours = {label: COLOURS[k % len(COLOURS)] for k, label in enumerate(coloured)}
    distinct = len(colours) <= len(COLOURS)
    with styled():
        figure = new_figure(width=4.8 * columns, height=rows * (2.35 * aspect + 0.2) + 0.35)
        for pair, image, *both in zip(_pairs(figure, len(images), columns), images, ground_truth, predictions):
            crowded = distinct and max(len(found.boxes) for found in both) > CROWDED
            for axes, found, title in zip(pair, both, ('ground truth', 'predicted')):
                _draw(axes, image, found, colours, None if crowded else classes)
                axes.set_title(f'{title}: {len(found.boxes)}', fontsize=7, pad=2)
        if distinct and present:
            patches = [Patch(color=colours[label], label=classes[label]) for label in present]
            figure.legend(handles=patches, loc='outside upper center', ncols=len(patches))
    return figure

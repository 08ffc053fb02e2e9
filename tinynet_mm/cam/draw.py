"""Pictures: a map over its image with boxes and scores, and the paper's Figure 5, models side by side."""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from ..errors import printable
from ..plots import new_figure, styled

OPACITY = 0.6  # of the map's highest value; where the map is zero, the picture does not change
SMALLEST = 480  # long side in pixels below which a picture is enlarged, so that its labels can be read


def overlay(picture: np.ndarray, values: np.ndarray, boxes: Sequence = (), labels: Sequence[str] = ()) -> np.ndarray:
    """Draw a map (H, W) in 0 to 1 over a BGR picture (H, W, 3), with boxes (x1, y1, x2, y2) and a label for each.

    Labels without boxes, those of a classifier, are in the upper left corner. Returns 8-bit BGR; a small picture is enlarged by
    a whole number, to about SMALLEST pixels on its longer side.
    """
    factor = max(1, round(SMALLEST / max(picture.shape[:2])))
    if factor > 1:
        size = picture.shape[1] * factor, picture.shape[0] * factor
        arrays = picture, np.asarray(values, np.float32)
        picture, values = (cv2.resize(array, size, interpolation=cv2.INTER_CUBIC) for array in arrays)
    canvas = blend(picture, np.clip(values, 0, 1))
    for box in boxes:
        _box(canvas, np.asarray(box) * factor)
    for i, label in reversed(list(enumerate(labels))):  # the best one on top
        _label(canvas, label, np.asarray(boxes[i][:2]) * factor if len(boxes) else (0, i * 2 * _unit(canvas)))
    return canvas


def blend(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Blend the colours of a map (H, W) in 0 to 1 with a BGR picture (H, W, 3): a higher value hides more of the picture.

    The computation uses 8-bit values and tables of 256 entries.
    """
    weights, colours = _tables()
    level = cv2.merge([(values * 255 + 0.5).astype(np.uint8)] * 3)
    mixed: np.ndarray = cv2.LUT(level, weights)
    np.multiply(mixed, picture, out=mixed)
    np.add(mixed, cv2.LUT(level, colours), out=mixed)
    np.right_shift(mixed, 8, out=mixed)
    return mixed.astype(np.uint8)


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For each level of the map and each colour the picture's weight and the weighted colour, (256, 1, 3), in 256ths."""
    levels = np.arange(256, dtype=np.uint8)
    weight = np.round(256 * OPACITY * np.sqrt(levels / 255))[:, None, None].repeat(3, axis=2)
    colours = cv2.applyColorMap(levels[:, None], cv2.COLORMAP_TURBO)
    return (256 - weight).astype(np.uint16), (colours * weight).astype(np.uint16)


def _unit(canvas: np.ndarray) -> int:
    """Height of a line of text in pixels, by the longer side; less on a narrow strip."""
    return max(11, round(min(max(canvas.shape[:2]) / 50, min(canvas.shape[:2]) / 8)))


def _box(canvas: np.ndarray, box: np.ndarray) -> None:
    low, high = (tuple(map(int, np.round(corner))) for corner in (box[:2], box[2:]))
    width = max(1, _unit(canvas) // 7)
    cv2.rectangle(canvas, low, high, (0, 0, 0), width + 2, cv2.LINE_AA)
    cv2.rectangle(canvas, low, high, (255, 255, 255), width, cv2.LINE_AA)


def _label(canvas: np.ndarray, text: str, corner: Sequence[float]) -> None:
    """Black text on white with its lower edge on the box; inside the picture if there is no space above the box."""
    text = printable(text)  # OpenCV crashes on text that is not UTF-8
    font, unit = cv2.FONT_HERSHEY_SIMPLEX, _unit(canvas)
    scale, thickness = unit / 24, max(1, unit // 12)
    (width, height), below = cv2.getTextSize(text, font, scale, thickness)
    x = int(np.clip(corner[0], 0, max(0, canvas.shape[1] - width - 6)))
    y = int(np.clip(corner[1] - height - below - 4, 0, max(0, canvas.shape[0] - height - below - 4)))
    cv2.rectangle(canvas, (x, y), (x + width + 6, y + height + below + 4), (255, 255, 255), -1)
    cv2.putText(canvas, text, (x + 3, y + height + 3), font, scale, (0, 0, 0), thickness, cv2.LINE_AA)


def comparison(rows: Sequence[Sequence[tuple[np.ndarray, str]]], titles: Sequence[str], width: float = 1.75) -> Figure:
    """The paper's Figure 5: a row for each image, the picture first, then each model's overlay with its caption below.

    Args:
        rows: BGR pictures (H, W, 3) with captions, one for each title.
        titles: a title for each column.
        width: of a column in inches.
    """
    heights = [max(picture.shape[0] / picture.shape[1] for picture, _ in row) for row in rows]
    with styled():
        lines = max(title.count('\n') + 1 for title in titles)
        figure = new_figure(width * len(titles), (width - 0.06) * sum(heights) + 0.2 * len(rows) + 0.17 * lines)
        figure.set_layout_engine('constrained', w_pad=0.03, h_pad=0.02, hspace=0, wspace=0)
        grid = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
        for axes, row in zip(grid, rows):
            for axis, (picture, caption) in zip(axes, row):
                axis.imshow(picture[..., ::-1], interpolation='antialiased')
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(caption, fontsize=8, labelpad=2)
                axis.grid(False)
                axis.spines[:].set_visible(False)
        for axis, title in zip(grid[0], titles):
            axis.set_title(title, fontsize=9, pad=3)
    return figure

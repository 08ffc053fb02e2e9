"""Detect small objects in large images: the image is cut into tiles that overlap, and the boxes of all tiles are merged.

The complete image is one more tile, for objects that are larger than a tile. Boxes of two tiles are compared where both tiles see
the image: there, two boxes of one object are nearly equal, also if one of them is cut by the border of its tile. Of the boxes of
an object, the best one that no border cuts is kept; if all are cut, the box around them.

sahi 0.12 has the same purpose. It was not used: it brings shapely, fire and requests, needs an adapter for each kind of model,
and its default merge also joins boxes of one tile: of (0, 0, 100, 100) and (40, 0, 130, 100) it makes one object, and it drops a
small object inside the box of a large one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .runtime import Detections

EDGE = 0.01  # fraction of the side of a tile: a box that ends within it is cut by the border
SAME = 0.5  # IoU of two boxes in the common part of their tiles from which they are one object
INSIDE = 0.5  # of a cut box in the common part, the fraction inside a better box from which it is a part of that object


@dataclass(frozen=True)
class Found:
    """Boxes of all tiles in pixels of the image; the rows of all arrays are those of ``boxes`` (N, 4)."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    tiles: np.ndarray  # (N, 4), the tile of each box
    cut: np.ndarray  # (N,) whether a border of the tile inside the image cuts the box


def tiled(
    detect: Callable[[Sequence[np.ndarray]], Sequence[Detections]], size: int, overlap: float = 0.2
) -> Callable[[Sequence[np.ndarray]], list[Detections]]:
    """A detector that runs ``detect`` on tiles.

    Args:
        detect: detects in a list of BGR images.
        size: side of a tile in pixels.
        overlap: the least overlap of two tiles next to each other, as a fraction of the side; objects up to this size are
            complete in a tile.

    Raises:
        UserError: a size below 32 pixels, or an overlap that is not from 0 to 0.9.
    """
    if size < 32 or not 0 <= overlap <= 0.9:
        raise UserError(f'tiles of {size} pixels that overlap by {overlap:g}: give at least 32 pixels, and from 0 to 0.9.')
    return lambda images: [_detect_one(detect, image, size, overlap) for image in images]


def _detect_one(detect: Callable, image: np.ndarray, size: int, overlap: float) -> Detections:
    height, width = image.shape[:2]
    windows = list(cut(width, height, size, overlap))
    if len(windows) == 1:
        return detect([image])[0]
    windows.append((0, 0, width, height))
    parts = [*detect([np.ascontiguousarray(image[y1:y2, x1:x2]) for x1, y1, x2, y2 in windows])]
    found = merge([_place(part, window, (width, height)) for part, window in zip(parts, windows)])
    return Detections(found.boxes, found.scores, found.labels, parts[0].classes)


def cut(width: int, height: int, size: int, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """The tiles (x1, y1, x2, y2) of an image, in rows; they have the full size if the image does, and equal distances."""
    for y in _starts(height, size, overlap):
        for x in _starts(width, size, overlap):
            yield x, y, min(x + size, width), min(y + size, height)


def _starts(length: int, size: int, overlap: float) -> list[int]:
    if length <= size:
        return [0]
    count = -(-(length - size) // max(1, int(size * (1 - overlap)))) + 1
    return np.linspace(0, length - size, int(count)).round().astype(int).tolist()


def _place(part: Detections, window: tuple[int, int, int, int], image: tuple[int, int]) -> Found:
    """The boxes of a tile in pixels of the image."""
    x1, y1, x2, y2 = window
    boxes = np.asarray(part.boxes, np.float32).reshape(-1, 4) + np.array([x1, y1, x1, y1], np.float32)
    tile = np.array(window, np.float32)
    slack = EDGE * np.array([x2 - x1, y2 - y1] * 2, np.float32)
    inner = np.array([x1 > 0, y1 > 0, x2 < image[0], y2 < image[1]])
    cut_by = (np.abs(boxes - tile) <= slack) & inner
    return Found(boxes, np.asarray(part.scores), np.asarray(part.labels), np.tile(tile, (len(boxes), 1)), cut_by.any(axis=1))


def merge(parts: Sequence[Found]) -> Found:
    """One box for each object, by descending score."""
    fields = zip(*((p.boxes, p.scores, p.labels, p.tiles, p.cut) for p in parts))
    found = Found(*(np.concatenate(values) for values in fields))
    keep = _whole(found)
    pieces = np.flatnonzero(found.cut)
    if len(pieces) and len(keep):
        _, inside = _compare(found, pieces, keep)
        pieces = pieces[~(inside > INSIDE).any(axis=1)]
    boxes, scores = found.boxes.copy(), found.scores
    for group in _groups(found, pieces):
        best = group[np.argmax(scores[group])]
        boxes[best] = [*found.boxes[group, :2].min(axis=0), *found.boxes[group, 2:].max(axis=0)]
        keep = np.append(keep, best)
    keep = keep[np.argsort(-scores[keep], kind='stable')]
    return Found(boxes[keep], scores[keep], found.labels[keep], found.tiles[keep], found.cut[keep])


def _whole(found: Found) -> np.ndarray:
    """Of the boxes that no border cuts, the best one of each object: suppression in each class between tiles."""
    order = np.flatnonzero(~found.cut)
    order = order[np.argsort(-found.scores[order], kind='stable')]
    kept: list[int] = []
    for label in np.unique(found.labels[order]):
        mine = order[found.labels[order] == label]
        same = _compare(found, mine, mine)[0] > SAME
        alive = np.ones(len(mine), bool)
        for row in range(len(mine)):
            if alive[row]:
                alive[row + 1 :] &= ~same[row, row + 1 :]
        kept += mine[alive].tolist()
    return np.array(kept, int)


def _groups(found: Found, pieces: np.ndarray) -> Iterator[np.ndarray]:
    """Cut boxes by object: those that are the same in the common part of their tiles, also over several tiles."""
    linked = _compare(found, pieces, pieces)[0] > SAME
    count, names = connected(linked)
    yield from (pieces[names == number] for number in range(count))


def connected(linked: np.ndarray) -> tuple[int, np.ndarray]:
    """The number of connected parts of a symmetric (N, N) relation, and the part of each row."""
    names = np.full(len(linked), -1)
    count = 0
    for row in range(len(linked)):
        if names[row] < 0:
            todo = [row]
            while todo:
                member = todo.pop()
                if names[member] < 0:
                    names[member] = count
                    todo += np.flatnonzero(linked[member]).tolist()
            count += 1
    return count, names


def _compare(found: Found, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU of boxes in the common part of their tiles, and the part of the first one there that is in the second; each (n, m).

    Both are 0 for boxes of one tile, which its own suppression has compared, and of different classes.
    """
    tiles = _common(found.tiles[first][:, None], found.tiles[second][None])
    a, b = _common(found.boxes[first][:, None], tiles), _common(found.boxes[second][None], tiles)
    shared, one, two = _area(_common(a, b)), _area(a), _area(b)
    fits = (found.labels[first][:, None] == found.labels[second]) & (found.tiles[first][:, None] != found.tiles[second]).any(-1)
    iou = np.where(fits, shared / np.maximum(one + two - shared, 1e-6), 0)
    return iou, np.where(fits, shared / np.maximum(one, 1e-6), 0)


def _common(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])], axis=-1)


def _area(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]

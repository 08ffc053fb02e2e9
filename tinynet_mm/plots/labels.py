"""Names beside points, none over another: a greedy placement without randomness, so that the same rows give the same picture.

Each name takes the first free place around its point, near ones before far ones; a thin line leads to the far ones. A place is
free when it lies within the axes and touches no marker, no name, no line that leads to one, and not the legend; curves, and
lines that cross, are avoided while there is another place. Of several orders that which names the most, and nearest, is kept; a
name without a place is returned, never drawn over something.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

_RADII = (5, 8, 12, 18, 26, 36, 48, 62, 78, 96, 116, 140, 170)  # points (1/72 inch) from the marker's centre
_ANGLES = (0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202, 68, 112, 292, 248)  # degrees, the most readable first
_LEADER = 12  # points of distance from which a line leads to the name
_MARKER = 4.5  # points around a marker's centre that stay free


_WAYS = np.array([(r * np.cos(a), r * np.sin(a)) for r in _RADII for a in np.radians(_ANGLES)])  # (ways, 2)


def _boxes(centre: np.ndarray, ways: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Boxes (ways, 4; x0, y0, x1, y1) of a name of ``size`` whose side or corner nearest ``centre`` lies ``ways`` from it."""
    direction = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    share = np.where(np.abs(direction) < 0.3, 0.5, direction < 0)  # of the size that lies left of, or below, the anchor
    low = centre + ways - share * np.array(size)
    return np.hstack([low, low + np.array(size)])


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of ``boxes`` (n, 4) overlap any of ``others`` (m, 4)."""
    mine, theirs = boxes[:, None], others[None]
    return ((mine[..., :2] < theirs[..., 2:]) & (theirs[..., :2] < mine[..., 2:])).all(axis=2).any(axis=1)


def _cross(segments: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which of ``segments`` (n, 4; from x, y to x, y) meet which of ``boxes`` (m, 4); (n, m) booleans."""
    start, way = segments[:, None, :2], segments[:, None, 2:] - segments[:, None, :2]
    way = np.where(np.abs(way) < 1e-9, 1e-9, way)
    bounds = np.stack([(boxes[None, :, :2] - start) / way, (boxes[None, :, 2:] - start) / way])  # where on the segment
    enter, leave = bounds.min(axis=0).max(axis=-1), bounds.max(axis=0).min(axis=-1)
    return (enter <= leave) & (leave >= 0) & (enter <= 1)


def _intersect(segments: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of ``segments`` (n, 4) cross any of ``others`` (m, 4): the ends of each are on different sides of the other."""
    a, b, c, d = segments[:, None, :2], segments[:, None, 2:], others[None, :, :2], others[None, :, 2:]

    def side(p: np.ndarray, q: np.ndarray, point: np.ndarray) -> np.ndarray:
        return (q[..., 0] - p[..., 0]) * (point[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (point[..., 0] - p[..., 0])

    return ((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any(axis=1)


class Place(NamedTuple):
    """Where a name stands (x0, y0, x1, y1), where a line to it ends, whether it is far enough for one, and how far; in pixels."""

    box: np.ndarray
    anchor: np.ndarray
    far: bool
    distance: float


class _Placer:
    """The obstacles of one figure, in pixels, and the search among them."""

    def __init__(self, axes: Axes, obstacles: np.ndarray, names: Sequence[str], size: float):
        figure = axes.figure
        figure.draw_without_rendering()  # settles the layout, so that pixels are final
        self.area, self.pixel = axes.bbox.extents, figure.dpi / 72
        self.centres = axes.transData.transform(obstacles)
        half = _MARKER * self.pixel
        self.markers = np.hstack([self.centres - half, self.centres + half])
        legend = axes.get_legend()
        self.fixed = np.reshape(legend.get_window_extent().extents if legend else [], (-1, 4))
        curves = [axes.transData.transform(line.get_xydata()) for line in axes.lines if line.get_linestyle() != 'None']
        self.curves = np.vstack([np.empty((0, 4)), *(np.hstack([curve[:-1], curve[1:]]) for curve in curves)])
        self.sizes = [self._size(axes, name, size) for name in names]

    @staticmethod
    def _size(axes: Axes, name: str, size: float) -> tuple[float, float]:
        artist = axes.annotate(name, (0, 0), xycoords='figure pixels', fontsize=size)
        extent = artist.get_window_extent(axes.figure.canvas.get_renderer())
        artist.remove()
        return extent.width, extent.height

    def place_all(self, order: Sequence[int]) -> dict[int, Place]:
        placed: dict[int, Place] = {}
        for number in order:
            place = self._place(number, placed)
            if place:
                placed[number] = place
        return placed

    def _place(self, number: int, placed: dict[int, Place]) -> Place | None:
        """The first free way from the marker to the name; those whose name meets no curve and whose line no other come first."""
        centre, ways = self.centres[number], _WAYS * self.pixel
        boxes, distances = _boxes(centre, ways, self.sizes[number]), np.hypot(*ways.T)
        far = distances >= _LEADER * self.pixel
        names = [place.box + np.array([-1, -1, 1, 1]) * self.pixel for place in placed.values()]
        others = np.vstack([self.fixed, np.reshape(names, (-1, 4)), np.delete(self.markers, number, axis=0)])
        leaders = np.reshape([[*self.centres[k], *place.anchor] for k, place in placed.items() if place.far], (-1, 4))
        free = (boxes[:, :2] >= self.area[:2]).all(axis=1) & (boxes[:, 2:] <= self.area[2:]).all(axis=1)
        free &= ~_overlap(boxes, others) & ~_cross(leaders, boxes).any(axis=0)
        starts = centre + ways * (_MARKER * self.pixel / distances)[:, None]
        lines = np.hstack([starts, centre + ways])
        free &= ~(far & _cross(lines, others).any(axis=1))
        clear = free & ~_cross(self.curves, boxes).any(axis=0) & ~(far & _intersect(lines, leaders))
        for way in (*np.flatnonzero(clear), *np.flatnonzero(free)):
            return Place(boxes[way], centre + ways[way], bool(far[way]), distances[way])
        return None

    def orders(self) -> list[list[int]]:
        """As given, then the most crowded first, then from the right, the left, the top."""
        numbers = range(len(self.sizes))
        x, y = self.centres[: len(self.sizes)].T
        distances = np.hypot(*(self.centres[:, None] - self.centres[None]).T)[: len(self.sizes)]
        crowd = np.sort(distances, axis=1)[:, 1:4].sum(axis=1)
        return [list(numbers), *(sorted(numbers, key=lambda k: key[k]) for key in (crowd, -x, x, -y))]


def _write(axes: Axes, point: tuple[float, float], name: str, place: Place, look: dict) -> None:
    centre, pixel = axes.transData.transform(point), axes.figure.dpi / 72
    axes.annotate(name, point, (place.box[:2] - centre) / pixel, textcoords='offset points', ha='left', va='bottom', **look)
    if place.far:
        line = dict(arrowstyle='-', color='#909090', linewidth=0.5, shrinkA=0, shrinkB=3)
        axes.annotate('', point, (place.anchor - centre) / pixel, textcoords='offset points', arrowprops=line)


def place_labels(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str], size: float = 7
) -> list[str]:
    """Write ``names`` beside the first of ``points`` (data coordinates); further points are only kept free. Returns the names
    that found no place.

    Call it last: axes, limits, markers, curves and the legend must stand already.
    """
    placer = _Placer(axes, np.asarray(points, dtype=float).reshape(-1, 2), names, size)
    tried = [placer.place_all(order) for order in placer.orders()]
    best = min(tried, key=lambda placed: (-len(placed), sum(place.distance for place in placed.values())))
    for number, place in best.items():
        _write(axes, points[number], names[number], place, dict(fontsize=size, color=colours[number]))
    return [name for number, name in enumerate(names) if number not in best]

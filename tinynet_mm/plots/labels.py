"""Place names next to points without overlaps: a greedy search without randomness, so equal rows give equal figures.

Each name gets the first free position around its point, near positions before far ones; a thin line leads from the point to a far
name. A position is free if it is inside the axes and overlaps no marker, no name, no line that leads to a name, and not the
legend. Curves, and lines that cross, are avoided if another position is free. Several orders of the names are tried; the one with
the most names, and then the shortest distances, is used. A name without a free position is returned and not drawn.

Two libraries were tried on five figures with 149 names (three of the paper's table, two of results/sweep_cifar10), all in one run
on a busy two-core machine; overlaps were counted with matplotlib's window extents:

    ===================  ======  =============  ============  =========  ====================  ========  =======
                         left    names over     names over    names on   lines over another    lines     seconds
                         out     other names    markers       curves     marker / over a name  crossing
    ===================  ======  =============  ============  =========  ====================  ========  =======
    this module               0              0             0         12                 0 / 1         4     28
    textalloc 1.2.4          25              0             0          0                44 / 0         0     14
    adjustText 1.4.0          0              3            53         77               18 / 12         0    108
    ===================  ======  =============  ============  =========  ====================  ========  =======

textalloc (default settings, avoiding curves) leaves out a sixth of the names, and its lines cover markers; adjustText (500
iterations) covers markers and curves. So this module stays.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_RADII = (5, 8, 12, 18, 26, 36, 48, 62, 78, 96, 116, 140, 170)  # points (1/72 inch) from the marker's centre
_ANGLES = (0, 180, 90, 270, 45, 135, 315, 225, 22, 158, 338, 202, 68, 112, 292, 248)  # degrees, the most readable first
_LEADER = 12  # distance in points from which a line leads to the name
_SEGMENTS = 100  # of a curve; a longer one is simplified
_MARKER = 4.5  # points around the centre of a marker that stay free
_OFFSETS = np.array([(r * np.cos(a), r * np.sin(a)) for r in _RADII for a in np.radians(_ANGLES)])  # (offsets, 2)


def _boxes(centre: np.ndarray, offsets: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Return boxes (N, 4; x0, y0, x1, y1) of a name whose side or corner nearest to ``centre`` is at ``offsets`` (N, 2)."""
    direction = offsets / np.linalg.norm(offsets, axis=1, keepdims=True)
    share = np.where(np.abs(direction) < 0.3, 0.5, direction < 0)  # share of the size to the left of, or below, the anchor
    low = centre + offsets - share * np.array(size)
    return np.hstack([low, low + np.array(size)])


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which of ``boxes`` (N, 4) overlap any of ``others`` (M, 4), as booleans (N,)."""
    mine, theirs = boxes[:, None], others[None]
    overlaps: np.ndarray = (mine[..., :2] < theirs[..., 2:]) & (theirs[..., :2] < mine[..., 2:])
    return np.any(np.all(overlaps, axis=2), axis=1)


def _cross(segments: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return which of ``segments`` (N, 4; x0, y0, x1, y1) meet which of ``boxes`` (M, 4), as booleans (N, M)."""
    start, step = segments[:, None, :2], segments[:, None, 2:] - segments[:, None, :2]
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    bounds = np.stack(
        [(boxes[None, :, :2] - start) / step, (boxes[None, :, 2:] - start) / step]
    )  # positions on the segment, 0 to 1
    enter, leave = bounds.min(axis=0).max(axis=-1), bounds.max(axis=0).min(axis=-1)
    return (enter <= leave) & (leave >= 0) & (enter <= 1)


def _intersect(segments: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which of ``segments`` (N, 4) cross any of ``others`` (M, 4): the ends of each are on both sides of the other."""
    a, b, c, d = segments[:, None, :2], segments[:, None, 2:], others[None, :, :2], others[None, :, 2:]

    def side(p: np.ndarray, q: np.ndarray, point: np.ndarray) -> np.ndarray:
        return (q[..., 0] - p[..., 0]) * (point[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (point[..., 0] - p[..., 0])

    return ((side(a, b, c) * side(a, b, d) < 0) & (side(c, d, a) * side(c, d, b) < 0)).any(axis=1)


class Place(NamedTuple):
    """A position: the box of the name (x0, y0, x1, y1), the end of a line to it, whether it needs one, the distance; pixels."""

    box: np.ndarray
    anchor: np.ndarray
    far: bool
    distance: float


class _Placer:
    """The obstacles of one figure, in pixels, and the search among them."""

    def __init__(self, axes: Axes, obstacles: np.ndarray, names: Sequence[str], size: float):
        figure = cast(Figure, axes.figure)
        figure.draw_without_rendering()  # computes the layout, so that pixel positions are final
        self.area, self.pixel = axes.bbox.extents, figure.dpi / 72
        self.centres = axes.transData.transform(obstacles)
        half = _MARKER * self.pixel
        self.markers = np.hstack([self.centres - half, self.centres + half])
        legend = axes.get_legend()
        self.fixed = np.reshape(legend.get_window_extent().extents if legend else [], (-1, 4))
        lines = [np.asarray(line.get_xydata()) for line in axes.lines if line.get_linestyle() != 'None']
        curves = [axes.transData.transform(line[:: -(-len(line) // _SEGMENTS) or 1]) for line in lines]
        self.curves = np.vstack([np.empty((0, 4)), *(np.hstack([curve[:-1], curve[1:]]) for curve in curves)])
        self.sizes = [self._size(axes, name, size) for name in names]

    @staticmethod
    def _size(axes: Axes, name: str, size: float) -> tuple[float, float]:
        artist = axes.annotate(name, (0, 0), xycoords='figure pixels', fontsize=size)
        extent = artist.get_window_extent(cast(FigureCanvasAgg, axes.figure.canvas).get_renderer())
        artist.remove()
        return extent.width, extent.height

    def place_all(self, order: Sequence[int]) -> dict[int, Place]:
        """Place the names in this order; returns the positions of those with a free one, by number."""
        placed: dict[int, Place] = {}
        for number in order:
            place = self._place(number, placed)
            if place:
                placed[number] = place
        return placed

    def _place(self, number: int, placed: dict[int, Place]) -> Place | None:
        """Return the first free position; positions that touch no curve, and whose line crosses no other, come first."""
        centre, offsets = self.centres[number], _OFFSETS * self.pixel
        boxes, distances = _boxes(centre, offsets, self.sizes[number]), np.hypot(*offsets.T)
        far = distances >= _LEADER * self.pixel
        names = [place.box + np.array([-1, -1, 1, 1]) * self.pixel for place in placed.values()]
        others = np.vstack([self.fixed, np.reshape(names, (-1, 4)), np.delete(self.markers, number, axis=0)])
        leaders = np.reshape([[*self.centres[k], *place.anchor] for k, place in placed.items() if place.far], (-1, 4))
        free = (boxes[:, :2] >= self.area[:2]).all(axis=1) & (boxes[:, 2:] <= self.area[2:]).all(axis=1)
        free &= ~_overlap(boxes, others) & ~_cross(leaders, boxes).any(axis=0)
        starts = centre + offsets * (_MARKER * self.pixel / distances)[:, None]
        lines = np.hstack([starts, centre + offsets])
        free &= ~(far & _cross(lines, others).any(axis=1))
        clear = free & ~_cross(self.curves, boxes).any(axis=0) & ~(far & _intersect(lines, leaders))
        chosen = [*np.flatnonzero(clear), *np.flatnonzero(free)]
        if not chosen:
            return None
        first = chosen[0]
        return Place(boxes[first], centre + offsets[first], bool(far[first]), float(distances[first]))

    def orders(self) -> list[list[int]]:
        """Return the orders to try: as given, most crowded first, from the right, from the left, from the top."""
        numbers = range(len(self.sizes))
        x, y = self.centres[: len(self.sizes)].T
        distances = np.hypot(*(self.centres[: len(self.sizes), None] - self.centres[None]).transpose(2, 0, 1))
        crowd = np.sort(distances, axis=1)[:, 1:4].sum(axis=1)
        return [list(numbers), *(sorted(numbers, key=lambda k: key[k]) for key in (crowd, -x, x, -y))]


def _write(axes: Axes, point: tuple[float, float], name: str, place: Place, look: dict[str, Any]) -> None:
    centre, pixel = axes.transData.transform(point), axes.figure.dpi / 72
    axes.annotate(name, point, (place.box[:2] - centre) / pixel, textcoords='offset points', ha='left', va='bottom', **look)
    if place.far:
        line: dict[str, Any] = dict(arrowstyle='-', color='#909090', linewidth=0.5, shrinkA=0, shrinkB=3)
        axes.annotate('', point, (place.anchor - centre) / pixel, textcoords='offset points', arrowprops=line)


def place_labels(
    axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str], colours: Sequence[str], size: float = 7
) -> list[str]:
    """Write names next to points; call it last, after axes, limits, markers, curves and the legend are set.

    Args:
        axes: the axes to write in.
        points: (x, y) in data coordinates; those after the first ``len(names)`` have no name, and are not covered by one.
        names: the names of the first points.
        colours: the colours of the names.
        size: font size in points.

    Returns:
        the names without a free position, which are not drawn.
    """
    placer = _Placer(axes, np.asarray(points, dtype=float).reshape(-1, 2), names, size)
    tried = [placer.place_all(order) for order in placer.orders()]
    best = min(tried, key=lambda placed: (-len(placed), sum(place.distance for place in placed.values())))
    for number, place in best.items():
        _write(axes, points[number], names[number], place, dict(fontsize=size, color=colours[number]))
    return [name for number, name in enumerate(names) if number not in best]

"""Accuracy against cost: the paper's figures 1, 6 and 7, with the Pareto front.

Measured numbers and numbers of the paper (or of another ``source``) have different markers and separate fronts.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ..errors import UserError, did_you_mean, listed
from ..files import check_names, to_number
from .labels import place_labels
from .style import COLOURS, LARGEST, MARKERS, MILLIONS, SCORES, axis_name, new_figure, styled

MEASURED = 'measured'
PROTOCOL = ('dataset', 'machine', 'device', 'runtime', 'threads', 'batch', 'precision', 'protocol')
_FRONT, _GREY = '#bdbdbd', '#606060'
_Style = Literal['-', '--', ':']
_LINES: tuple[_Style, ...] = ('-', '--', ':')
_SERIES = 12  # number of points in a group above which no line connects them
_NAMED = 40  # number of points above which only the front has names
_NAMES = 40  # most names of a figure
_ENTRIES = 100  # most groups and sources of a figure
_OBSTACLES = 200  # most points that no name covers
_KEYS = 6  # number of legend entries above which the legend is outside the axes
_LOGARITHMIC = 8  # ratio of the highest to the lowest cost above which the axis is logarithmic


@dataclass(frozen=True)
class Point:
    """A network: its cost ``x``, its score ``y``, its ``group`` ('' for none), and the ``source`` of its numbers.

    ``y`` is a mean if a network has several rows, for instance one for each seed; ``span`` is then their least and largest.
    """

    name: str
    x: float
    y: float
    group: str = ''
    source: str = MEASURED
    protocol: tuple[tuple[str, str], ...] = ()
    span: tuple[float, float] | None = None


def _source(row: dict) -> str:
    return str(row.get('source') or MEASURED).strip()


def _check_columns(rows: Sequence[dict], wanted: Sequence[str]) -> None:
    known = list(dict.fromkeys(column for row in rows for column in row))
    for column in wanted:
        if column not in known:
            matches = [name for name in known if name.startswith(column)]
            hint = did_you_mean(column, matches or known, count=1, cutoff=0 if matches else 0.5)
            raise UserError(f'no column {column!r} in these tables.{hint} The columns are: {", ".join(known)}.')


def _check_units(points: Sequence[Point], y: str) -> None:
    """Check that the sources do not mix per cent and fractions.

    Raises:
        UserError: one source has fractions and another per cent.
    """
    highest: dict[str, float] = {}
    for point in points:
        highest[point.source] = max(point.y, highest.get(point.source, -math.inf))
    if any(score in y for score in SCORES) and min(highest.values()) <= 1 < 1.5 < max(highest.values()):
        low = min(highest, key=lambda source: highest[source])
        raise UserError(f'column {y!r} holds fractions where source is {low!r} and per cent elsewhere; convert them to one unit.')


def read_points(
    rows: Sequence[dict], x: str, y: str = 'accuracy', label: str = 'name', group: str | None = None
) -> tuple[list[Point], list[str]]:
    """Return points from the rows of one or several tables, and notes on rows that cannot be drawn.

    Rows that differ only in score and protocol become one point at the mean. A row with a cost but no score gets the score of the
    row with the same name and source, so that a table of latencies and a table of accuracies can be drawn in one figure.

    Args:
        rows: the rows of all tables.
        x: column of the cost.
        y: column of the score.
        label: column of the names.
        group: column of the groups, None for no groups.

    Raises:
        UserError: a column is unknown, no row has both numbers, or one source has per cent and another fractions.
    """
    _check_columns(rows, [column for column in (x, y, label, group) if column])
    scored = [((row.get(label), _source(row)), to_number(row.get(y))) for row in rows]
    scores = {key: score for key, score in reversed(scored) if abs(score) <= LARGEST}
    points = []
    for row, (key, score) in zip(rows, scored):
        y_value = score if abs(score) <= LARGEST else scores.get(key, math.nan)
        point = Point(str(key[0]), to_number(row.get(x)), y_value, str(row.get(group) or '') if group else '', key[1])
        protocol = tuple((name, str(row[name])) for name in PROTOCOL if row.get(name) not in (None, ''))
        if abs(point.x) <= LARGEST and abs(point.y) <= LARGEST:
            points.append(replace(point, protocol=protocol))
    points = _merge(points)
    if not points:
        raise UserError(f'no network in these tables has both {x!r} and {y!r} as numbers.')
    _check_units(points, y)
    drawn = {point.name for point in points}
    check_names([*drawn, *(text for point in points for text in (point.group, point.source))], 'the tables')
    missing = list(dict.fromkeys(str(row.get(label)) for row in rows if str(row.get(label)) not in drawn))
    return points, [f'not drawn, because {x} or {y} is missing: {listed(missing, 8)}.'] if missing else []


def select_rows(rows: Sequence[dict], wanted: Sequence[str]) -> list[dict]:
    """The rows that have the values of all ``COLUMN=VALUE``, compared as texts.

    Raises:
        UserError: not of this form, an unknown column, or no such row.
    """
    chosen = list(rows)
    for text in wanted:
        column, mark, value = text.partition('=')
        if not mark:
            raise UserError(f'--where {text}: give COLUMN=VALUE, for instance data=bccd.')
        _check_columns(rows, [column])
        chosen = [row for row in chosen if str(row.get(column)) == value]
    if not chosen:
        raise UserError(f'--where {" ".join(wanted)}: no row of the tables has these values.')
    return chosen


def _merge(points: Sequence[Point]) -> list[Point]:
    """One point, at the mean, for the points that differ only in score and protocol; it has the protocols of all."""
    groups: dict[Point, list[Point]] = {}
    for point in points:
        groups.setdefault(replace(point, y=0.0, protocol=()), []).append(point)
    merged = []
    for point, members in groups.items():
        found, protocols = [each.y for each in members], tuple(pair for each in members for pair in each.protocol)
        span = (min(found), max(found)) if len(set(found)) > 1 else None
        merged.append(replace(point, y=mean(found), span=span, protocol=tuple(dict.fromkeys(protocols))))
    return merged


def front(points: Sequence[Point]) -> list[Point]:
    """Return the Pareto front, sorted by cost: the points for which no other point has a lower cost and a higher score."""
    best, chosen = -math.inf, []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if point.y > best:
            best = point.y
            chosen.append(point)
    return chosen


def _protocol(points: Sequence[Point]) -> str:
    """Return the protocol of the measured points as one line, with all values of what differs."""
    measured = [point.protocol for point in points if point.source == MEASURED]
    values = {
        name: list(dict.fromkeys(v for pairs in measured for v in [v for key, v in pairs if key == name] or ['not given']))
        for name in PROTOCOL
    }
    given = {name: found for name, found in values.items() if found and found != ['not given']}
    return '; '.join(' / '.join(found) if name == 'protocol' else f'{name} {" / ".join(found)}' for name, found in given.items())


@dataclass(frozen=True)
class _Key:
    """The colours, lines and markers of a figure: a colour per group (per source without groups), a marker per source.

    Points without a group are grey if others have one. With more groups than colours, colours repeat with another line style.
    """

    groups: tuple[str, ...]
    sources: tuple[str, ...]

    @classmethod
    def of(cls, points: Sequence[Point]) -> '_Key':
        """Collect the groups and sources of ``points``; raises UserError if they are too many for a legend."""
        sources = sorted({point.source for point in points}, key=lambda source: (source != MEASURED, source))
        groups = tuple(dict.fromkeys(point.group for point in points if point.group))
        if len(groups) + len(sources) > _ENTRIES:
            words = f'{len(groups)} groups and {len(sources)} sources do not fit into one figure'
            raise UserError(f'{words}; give a column with fewer groups, or at most {_ENTRIES} in total.')
        return cls(groups, tuple(sources))

    def colour(self, point: Point) -> str:
        """Return the colour of a point."""
        if self.groups and not point.group:
            return _GREY
        index = self.groups.index(point.group) if self.groups else self.sources.index(point.source)
        return COLOURS[index % len(COLOURS)]

    def line(self, group: str) -> _Style:
        """Return the line style of a group."""
        return _LINES[self.groups.index(group) // len(COLOURS) % len(_LINES)]

    def marker(self, source: str, colour: str) -> dict:
        """Return the marker of a source as arguments of ``plot``; only measured points are filled."""
        shape = MARKERS[self.sources.index(source) % len(MARKERS)]
        return dict(marker=shape, markersize=5, color=colour, markerfacecolor=colour if source == MEASURED else 'white')

    def legend(self, points: Sequence[Point]) -> list[Line2D]:
        """Return the entries of the legend."""
        colours = {point.group: self.colour(point) for point in points}
        handles = [Line2D([], [], color=colours[g], linewidth=2.5, linestyle=self.line(g), label=g) for g in self.groups]
        for source in self.sources:
            colour = _GREY if self.groups else self.colour(next(point for point in points if point.source == source))
            words = {MEASURED: MEASURED, 'paper': 'as printed in the paper'}.get(source, f'numbers of: {source}')
            handles.append(Line2D([], [], linestyle='None', label=words, **self.marker(source, colour)))
        if any(point.span for point in points):
            handles.append(
                Line2D([], [], linestyle='None', marker='|', markersize=10, color=_GREY, label='mean, least to largest')
            )
        return [*handles, Line2D([], [], color=_FRONT, linewidth=2.5, label='front: no other is better in both')]


def _draw_points(axes: Axes, points: Sequence[Point], scale: float, key: _Key) -> None:
    """Draw the markers, and a thin line through each group of one source with at most ``_SERIES`` points."""
    series: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        series.setdefault((point.group, point.source), []).append(point)
    for (group, source), found in series.items():
        mine = sorted(found, key=lambda point: point.x)
        line = key.line(group) if group and len(mine) <= _SERIES else 'None'
        look = dict(key.marker(source, key.colour(mine[0])), linestyle=line, linewidth=1)
        axes.plot([p.x * scale for p in mine], [p.y for p in mine], **look)
        for point in mine:
            if point.span:
                axes.vlines(point.x * scale, *point.span, color=key.colour(point), linewidth=1)


def _draw_fronts(axes: Axes, points: Sequence[Point], scale: float) -> list[Point]:
    """Draw the front of each source behind the markers; returns the points on the fronts."""
    chosen = []
    for source in sorted({point.source for point in points}):
        mine = front([point for point in points if point.source == source])
        style = '-' if source == MEASURED else (0, (4, 2))
        axes.plot([p.x * scale for p in mine], [p.y for p in mine], color=_FRONT, linewidth=2.5, linestyle=style, zorder=1)
        chosen += mine
    return chosen


def _set_axes(axes: Axes, points: Sequence[Point], x: str, y: str) -> None:
    axes.set(xlabel=axis_name(x, 0), ylabel=axis_name(y, max(point.y for point in points)))
    costs = [point.x for point in points]
    if min(costs) > 0 and max(costs) > _LOGARITHMIC * min(costs):
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)


def tradeoff(points: Sequence[Point], x: str = 'macs', y: str = 'accuracy') -> Figure:
    """Draw ``points`` (see :func:`read_points`) with their fronts and names.

    MACs and parameters are raw integers in ``points`` and drawn in millions, on a logarithmic axis if their range is large. Names
    do not overlap; names without free space are listed below the axes, with the protocol of the measured numbers.

    Args:
        points: the networks.
        x: column of the cost, for the axis.
        y: column of the score, for the axis.
    """
    scale, key = 1e-6 if x in MILLIONS else 1.0, _Key.of(points)
    with styled():
        handles = key.legend(points)
        outside = len(handles) > _KEYS
        figure = new_figure(7.2 + 3.2 * outside, 5.0)
        axes = figure.add_subplot()
        on_front = _draw_fronts(axes, points, scale)
        _draw_points(axes, points, scale, key)
        _set_axes(axes, points, x, y)
        if outside:
            figure.legend(handles=handles, loc='outside right upper')
        else:
            axes.legend(handles=handles, loc='best')
        others = sorted(set(points) - set(on_front), key=lambda p: (-p.y, p.x, p.name))
        named = _spread([*on_front, *(others if len(points) <= _NAMED else [])], _NAMES)
        lines = textwrap.wrap(_protocol(points), 130)
        note = figure.supxlabel(
            '\n'.join([*lines, ' ']), fontsize=6.5, color='#505050'
        )  # reserves the space before names are placed in pixels
        colours = [key.colour(p) if len(key.sources) > 1 else 'black' for p in named]
        unnamed = _spread(sorted({*on_front, *others} - set(named), key=lambda p: (p.x, p.y, p.name)), _OBSTACLES)
        places = [(p.x * scale, p.y) for p in (*named, *unnamed)]
        unplaced = place_labels(axes, places, [p.name for p in named], colours)
        note.set_text('\n'.join([*lines, _unnamed(unplaced, len(points) - len(named))]))
    return figure


def _spread(points: Sequence[Point], count: int) -> list[Point]:
    """Return at most ``count`` points, at equal distances in the list; the first and the last one are included."""
    step = (len(points) - 1) / (count - 1)
    return list(points) if len(points) <= count else [points[round(place * step)] for place in range(count)]


def _unnamed(unplaced: Sequence[str], others: int) -> str:
    words = [f'no space for the name of {listed(unplaced, 4)}'] if unplaced else []
    return '; '.join(words + ([f'{others} other networks are not named'] if others else []))

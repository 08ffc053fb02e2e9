"""Convert lines to rows: find the position of each validation, and drop rows that a later session repeated."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..files import to_number
from .files import COUNTERS, Session


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a log; ``epoch`` is fractional within an epoch, and NaN if the training counts iterations only."""

    split: str  # 'train' or 'val'
    iteration: float
    epoch: float
    values: dict[str, float]


def _values(line: dict) -> dict[str, float]:
    """Return the numbers of a line without counters, and without the prefix that ``log_with_hierarchy`` adds."""
    numbers = {key: value for key, value in line.items() if isinstance(value, (int, float)) and not isinstance(value, bool)}
    return {_plain(key): to_number(value) for key, value in numbers.items() if key not in COUNTERS}


@lru_cache(maxsize=1000)
def _plain(key: str) -> str:
    return re.sub('^(train|val)/', '', key)


def _counts_epochs(sessions: Sequence[Session]) -> bool:
    """Return whether an epoch loop wrote the log; ``epoch`` in a line is not enough, iteration loops write 1 in every line."""
    trained = [line for session in sessions for line in session.trained]
    if not all('epoch' in line for line in trained):
        return False
    if any('max_iters' in session.loop or 'max_epochs' in session.loop for session in sessions):
        return any('max_epochs' in session.loop for session in sessions)
    steps = {line['step'] for session in sessions for line in session.lines if 'iter' not in line}
    return max(line['epoch'] for line in trained) > 1 or 1 in steps


def _epoch_length(sessions: Sequence[Session]) -> float:
    """Return the iterations per epoch: the distance of the first lines of two epochs, since all epochs log at the same steps."""
    lengths = []
    for session in sessions:
        firsts: dict[int, int] = {}
        for line in session.trained:
            firsts.setdefault(line['epoch'], line['iter'])
        lengths += [firsts[epoch + 1] - first for epoch, first in firsts.items() if epoch + 1 in firsts]
    if lengths:
        return float(np.median(lengths))
    return max(math.ceil(line['iter'] / line['epoch']) for session in sessions for line in session.trained)


def _by_epochs(session: Session, length: float) -> list[Row]:
    """Return the rows of an epoch loop: a validation belongs to the epoch of the training line before it."""
    rows, epoch = [], None
    for line in session.lines:
        if 'iter' in line:
            epoch = line['epoch']
            place = float(np.clip(line['iter'] / length, epoch - 1 + 1 / length, epoch))
            rows.append(Row('train', line['iter'], place, _values(line)))
        elif epoch is not None:
            rows.append(Row('val', epoch * length, epoch, _values(line)))
    return rows


def _configured(count: int, low: float, high: float, loop: dict) -> list[float]:
    """Return the ``count`` iterations in [low, high) at which ``train_cfg`` validates; empty if it does not say."""
    if 'max_iters' not in loop:
        return []
    end, interval = loop['max_iters'], loop.get('val_interval', 1000)
    first, last = int(-(-max(low, loop.get('val_begin', 1)) // interval)), int(min(high - 1, end) // interval)
    if math.isfinite(high):
        first = max(first, last - count)
    places = [float(k * interval) for k in range(first, min(last, first + count) + 1)]
    places += [float(end)] if low <= end < high and end not in places else []
    if len(places) < count:
        return []
    return places[-count:] if math.isfinite(high) else places[:count]


def _by_iterations(session: Session) -> list[Row]:
    """Return the rows of an iteration loop.

    The ``step`` of a validation is its iteration, or 0. With 0, the validation is between the training lines before and after it,
    at the iterations that the config gives; without a config, validations are spaced evenly, which is an estimate. The first
    training line is at most one logging interval after the start.
    """
    rows, waiting = [], []
    iterations = [line['iter'] for line in session.trained]
    interval = float(np.median(np.diff([0, *iterations] if len(iterations) == 1 else iterations)))
    low, known = max(0.0, iterations[0] - interval), 0.0
    for line in [*session.lines, {'iter': math.inf}]:
        if 'iter' not in line:
            waiting.append(line)
            continue
        high, count = line['iter'], len(waiting)
        width = min(high - low, interval)
        places = _configured(count, known, high, session.loop) or [low + k * width / count for k in range(count)]
        if waiting and waiting[0]['step'] >= max(low, 1):
            places = [validation['step'] for validation in waiting]
        rows += [Row('val', place, math.nan, _values(validation)) for place, validation in zip(places, waiting)]
        if math.isfinite(high):
            rows.append(Row('train', high, math.nan, _values(line)))
        waiting, low, known = [], high, high
    return rows


def _join(parts: Iterable[Sequence[Row]], by_epoch: bool) -> tuple[list[Row], int]:
    """Return all rows without those that a later session trained again, and the number of the dropped rows."""
    joined: list[Row] = []
    dropped = 0
    for part in parts:
        place = (lambda row: math.ceil(row.epoch)) if by_epoch else (lambda row: row.iteration)  # a session starts with an epoch
        start, before = min(map(place, part)), len(joined)
        while joined and place(joined[-1]) >= start:
            joined.pop()
        dropped += before - len(joined)
        joined += part
    return joined, dropped


def place(sessions: Sequence[Session]) -> tuple[tuple[Row, ...], bool, int]:
    """Return the rows of one training by iteration, whether it counts epochs, and how many rows a later session replaced.

    If the same weights are validated several times, the last validation is kept.
    """
    by_epoch = _counts_epochs(sessions)
    length = _epoch_length(sessions) if by_epoch else math.nan
    rows, dropped = _join([_by_epochs(each, length) if by_epoch else _by_iterations(each) for each in sessions], by_epoch)
    unique = {(row.split, row.iteration): row for row in rows}
    return tuple(sorted(unique.values(), key=lambda row: (row.iteration, row.split))), by_epoch, dropped

"""Runs: what a training logged, whatever it was resumed from; chosen keys of it, and its numbers as CSV."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError, did_you_mean
from ..files import write_csv as write_rows
from .files import Session, find, read_sessions, search
from .placing import Row, place

COLUMNS = ('run', 'split', 'key', 'iteration', 'epoch', 'value')  # of the CSV file


@dataclass(frozen=True)
class Run:
    """One training, however often resumed. ``notes`` are sentences on what was joined, left out or estimated."""

    name: str
    rows: tuple[Row, ...]
    by_epoch: bool
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """All keys as 'train/KEY' and 'val/KEY', in order of appearance."""
        return list(dict.fromkeys(f'{row.split}/{key}' for row in self.rows for key in row.values))

    def series(self, key: str, by_epoch: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Places (epochs, or iterations) and values of 'train/KEY' or 'val/KEY'; both empty where the run has no such key."""
        split, key = key.split('/', 1)
        rows = [row for row in self.rows if row.split == split and key in row.values]
        epochs = self.by_epoch if by_epoch is None else by_epoch
        places = [row.epoch if epochs else row.iteration for row in rows]
        return np.array(places, dtype=float), np.array([row.values[key] for row in rows], dtype=float)


def _remarks(name: str, sessions: Sequence[Session], dropped: int, rows: Sequence[Row]) -> list[str]:
    notes = []
    if len(sessions) > 1:
        replaced = f'; {dropped} rows were replaced by those of a later session' if dropped else ''
        notes.append(f'{name}: {len(sessions)} sessions joined{replaced}.')
    lost = any(line['step'] == 0 for session in sessions if 'max_iters' not in session.loop for line in session.lines)
    if lost and any(row.split == 'val' for row in rows):
        notes.append(
            f'{name}: the log does not tell when it validated, nor does a config.py beside it; the places are estimates.'
        )
    averaged = [row for row in rows if row.split == 'val' and any('loss' in key for key in row.values)]
    if len(averaged) > 1:
        notes.append(f'{name}: MMEngine logs validation values with "loss" in their name as means over the last, ten as a rule.')
    for key in dict.fromkeys(key for row in rows for key in row.values):
        bad = [row for row in rows if not math.isfinite(row.values.get(key, 0.0))]
        if bad:
            notes.append(
                f'{name}: {key} is {bad[0].values[key]} at iteration {bad[0].iteration:g}; {len(bad)} such lines in all.'
            )
    return notes


def read_run(files: Sequence[Path], name: str) -> Run:
    """Join the log files of one work directory, given in order of time; ValueError where they hold no training."""
    sessions, notes = [], []
    for file in files:
        found, remarks = read_sessions(file)
        sessions += found
        notes += remarks
    if not any(session.lines for session in sessions):
        raise UserError(f'{files[-1]}: the log is empty; MMEngine writes its first line after LoggerHook.interval iterations.')
    sessions = [session for session in sessions if session.trained]
    if not sessions:
        raise UserError(f'{files[-1]}: the log holds a validation but no training, so there is no curve to draw.')
    rows, by_epoch, dropped = place(sessions)
    return Run(name, rows, by_epoch, tuple(notes + _remarks(name, sessions, dropped, rows)))


def _names(work_dirs: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many parts before it as it takes to tell them apart."""
    for parts in range(1, max(len(path.parts) for path in work_dirs) + 1):
        names = ['/'.join(path.parts[-parts:]) for path in work_dirs]
        if len(set(names)) == len(names):
            break
    return names


def read(paths: Iterable[str | Path]) -> list[Run]:
    """The runs found in work directories (or logs): one each, or several where a path is above several work directories.

    Raises FileNotFoundError for a path that is not there, and ValueError for a folder without a training log of MMEngine, for
    an empty log and for one of another tool; all say what to do. Where some runs of a folder can be read, the others are notes.
    """
    found = {work_dir: files for path in paths for work_dir, files in find(path).items()}
    runs, errors = [], []
    for (_, files), name in zip(found.items(), _names(list(found)) if found else []):
        try:
            runs.append(read_run(files, name))
        except ValueError as error:
            errors.append(error)
    if not runs:
        raise errors[0] if errors else ValueError('no work directory given; name at least one that holds a training log.')
    return [replace(runs[0], notes=(*map(str, errors), *runs[0].notes)), *runs[1:]]


def state(paths: Iterable[str | Path]) -> list[tuple[str, int]]:
    """Log files and their sizes, which change when a training writes or starts again. Raises as :func:`read`."""
    files = [file for path in paths for found in search(path).values() for file in found]
    return [(str(file), file.stat().st_size) for file in files]


# Keys and numbers


def select(runs: Sequence[Run], wanted: str) -> list[str]:
    """The full keys ('train/loss', 'val/loss') that ``wanted`` names: 'loss', 'val/loss', or an end of a key such as 'bbox_mAP'.

    Raises ValueError with the keys there are, the nearest first, where none or several different ones fit.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    plain = {key: key.split('/', 1)[1] for key in keys}
    for fits in (
        [key for key in keys if key == wanted],
        [key for key in keys if plain[key] == wanted],
        [key for key in keys if plain[key].endswith(f'/{wanted}')],
    ):
        if len({plain[key] for key in fits}) == 1:
            return fits
        if fits:
            raise UserError(f'key {wanted!r} fits {", ".join(sorted({plain[key] for key in fits}))}; give one of these in full.')
    names = list(dict.fromkeys(plain.values()))
    raise UserError(f'no key {wanted!r} in these logs.{did_you_mean(wanted, names, count=1)} There are: {", ".join(names)}.')


def write_csv(runs: Sequence[Run], keys: Sequence[str], path: str | Path) -> Path:
    """The numbers behind a figure, one value a line: run, split, key, iteration, epoch (empty without epochs), value."""
    lines = [line for run in runs for key in dict.fromkeys(keys) for line in _lines(run, key)]
    return write_rows(path, lines, COLUMNS)


def _lines(run: Run, key: str) -> Iterator[dict]:
    split, key = key.split('/', 1)
    for row in run.rows:
        if row.split == split and key in row.values:
            epoch = f'{row.epoch:.10g}' if run.by_epoch else ''
            yield dict(zip(COLUMNS, (run.name, split, key, f'{row.iteration:g}', epoch, row.values[key])))

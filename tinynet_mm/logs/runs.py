"""Runs: the log of a training with all its resumed sessions; selected keys, and the numbers as CSV."""

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
    """One training with all its resumed sessions. ``notes`` are sentences on what was joined, left out or estimated."""

    name: str
    rows: tuple[Row, ...]
    by_epoch: bool
    notes: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """All keys as 'train/KEY' and 'val/KEY', in order of appearance."""
        return list(dict.fromkeys(f'{row.split}/{key}' for row in self.rows for key in row.values))

    def series(self, key: str, by_epoch: bool | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions and values of 'train/KEY' or 'val/KEY', both (N,) and empty if the run has no such key.

        Positions are epochs or iterations; ``by_epoch`` None takes what the run counts.
        """
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
            f'{name}: neither the log nor a config.py next to it says when the run validated; the positions are estimates.'
        )
    averaged = [row for row in rows if row.split == 'val' and any('loss' in key for key in row.values)]
    if len(averaged) > 1:
        notes.append(
            f'{name}: MMEngine logs validation values with "loss" in their name as means over the last ones, by default ten.'
        )
    for key in dict.fromkeys(key for row in rows for key in row.values):
        bad = [row for row in rows if not math.isfinite(row.values.get(key, 0.0))]
        if bad:
            notes.append(f'{name}: {key} is {bad[0].values[key]} at iteration {bad[0].iteration:g}; {len(bad)} lines in total.')
    return notes


def read_run(files: Sequence[Path], name: str) -> Run:
    """Join the log files of one work directory, given in order of time.

    Raises:
        UserError: the files have no training lines.
    """
    sessions, notes = [], []
    for file in files:
        found, remarks = read_sessions(file)
        sessions += found
        notes += remarks
    if not any(session.lines for session in sessions):
        raise UserError(f'{files[-1]}: the log is empty; MMEngine writes its first line after LoggerHook.interval iterations.')
    sessions = [session for session in sessions if session.trained]
    if not sessions:
        raise UserError(f'{files[-1]}: the log has a validation but no training, so there is no curve to draw.')
    rows, by_epoch, dropped = place(sessions)
    return Run(name, rows, by_epoch, tuple(notes + _remarks(name, sessions, dropped, rows)))


def _names(work_dirs: Sequence[Path]) -> list[str]:
    """Return the last part of each path, with as many parent folders as needed to make the names unique."""
    for parts in range(1, max(len(path.parts) for path in work_dirs) + 1):
        names = ['/'.join(path.parts[-parts:]) for path in work_dirs]
        if len(set(names)) == len(names):
            break
    return names


def read(paths: Iterable[str | Path]) -> list[Run]:
    """Read the runs in work directories, in folders with several work directories, or in logs.

    Runs that cannot be read are notes of the first run, if others can be read.

    Raises:
        FileNotFoundError: a path does not exist.
        UserError: a folder has no log of MMEngine, a log is empty, or it is the log of another tool.
    """
    found = {work_dir: files for path in paths for work_dir, files in find(path).items()}
    runs, errors = [], []
    for (_, files), name in zip(found.items(), _names(list(found)) if found else []):
        try:
            runs.append(read_run(files, name))
        except UserError as error:
            errors.append(error)
    if not runs:
        raise errors[0] if errors else UserError('no work directory given; give at least one with a training log.')
    return [replace(runs[0], notes=(*map(str, errors), *runs[0].notes)), *runs[1:]]


def state(paths: Iterable[str | Path]) -> list[tuple[str, int]]:
    """Return log files and their sizes in bytes, which change when a training writes or restarts.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    files = [file for path in paths for found in search(path).values() for file in found]
    return [(str(file), file.stat().st_size) for file in files]


# Keys and numbers


def select(runs: Sequence[Run], wanted: str) -> list[str]:
    """Return the full keys ('train/loss', 'val/loss') that match ``wanted``: 'loss', 'val/loss', or the end of a key ('mAP').

    Raises:
        UserError: no key, or several different keys match; the message lists the keys.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.keys))
    plain = {key: key.split('/', 1)[1] for key in keys}
    for matches in (
        [key for key in keys if key == wanted],
        [key for key in keys if plain[key] == wanted],
        [key for key in keys if plain[key].endswith(f'/{wanted}')],
    ):
        if len({plain[key] for key in matches}) == 1:
            return matches
        if matches:
            raise UserError(
                f'key {wanted!r} matches {", ".join(sorted({plain[key] for key in matches}))}; give one of these in full.'
            )
    names = list(dict.fromkeys(plain.values()))
    raise UserError(f'no key {wanted!r} in these logs.{did_you_mean(wanted, names, count=1)} The keys are: {", ".join(names)}.')


def write_csv(runs: Sequence[Run], keys: Sequence[str], path: str | Path) -> Path:
    """Write the numbers of a figure as CSV, one value per line: run, split, key, iteration, epoch (empty without epochs), value.

    Returns the path. Raises as :func:`tinynet_mm.files.atomic`.
    """
    lines = [line for run in runs for key in dict.fromkeys(keys) for line in _lines(run, key)]
    return write_rows(path, lines, COLUMNS)


def _lines(run: Run, key: str) -> Iterator[dict]:
    split, key = key.split('/', 1)
    for row in run.rows:
        if row.split == split and key in row.values:
            epoch = f'{row.epoch:.10g}' if run.by_epoch else ''
            yield dict(zip(COLUMNS, (run.name, split, key, f'{row.iteration:g}', epoch, row.values[key])))

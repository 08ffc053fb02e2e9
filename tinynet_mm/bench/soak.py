"""Watch a long training from outside: its memory, open files and threads must not grow."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from ..errors import UserError
from ..files import machine_name
from .survival import LOGS

WARM_UP = 0.2  # part of the steps that is not compared: caches and pools fill


@dataclass(frozen=True)
class Seen:
    """One look at a training: its last step, MiB of resident memory, open files and threads."""

    step: int
    mib: float
    files: int
    threads: int


def last_step(folder: Path) -> int:
    """Steps in the log of a training."""
    return sum(path.read_text().count('"loss":') for path in folder.glob(LOGS))


def watch(command: Sequence[str], folder: Path, every: float, note: Callable[[Seen], object] = lambda seen: None) -> list[Seen]:
    """Run ``tools/train.py`` and look at its process every ``every`` seconds.

    Args:
        command: the tool and its arguments.
        folder: the work directory.
        every: seconds between two looks.
        note: receives each look.

    Raises:
        UserError: the training fails.
    """
    log, found = folder.parent / f'{folder.name}.log', []
    with log.open('w') as file:
        process = subprocess.Popen([sys.executable, *command, '--work-dir', str(folder)], stdout=file, stderr=subprocess.STDOUT)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            with watched.oneshot():
                sizes = watched.memory_info().rss / 2**20, watched.num_fds(), watched.num_threads()
        except psutil.Error:  # it has just ended
            break
        if step := last_step(folder):
            found.append(Seen(step, *sizes))
            note(found[-1])
        time.sleep(every)
    if process.wait():
        raise UserError(f'the training fails: see {log}.')
    return found


def summary(seen: Sequence[Seen]) -> dict[str, object]:
    """A row: steps, and for each measure its median in the first and the last fifth between warm-up and report.

    Raises:
        UserError: fewer than ten looks after the warm-up.
    """
    steady = [one for one in seen if WARM_UP * seen[-1].step < one.step < seen[-1].step] if seen else []
    if len(steady) < 10:
        raise UserError(f'{len(steady)} looks are too few; give more --epochs.')
    part = max(len(steady) // 5, 1)
    row: dict[str, object] = dict(steps=seen[-1].step, looks=len(steady))
    for name in ('mib', 'files', 'threads'):
        values = [getattr(one, name) for one in steady]
        row |= {
            f'{name}_first': round(float(np.median(values[:part])), 1),
            f'{name}_last': round(float(np.median(values[-part:])), 1),
        }
    slope = np.polyfit([one.step for one in steady], [one.mib for one in steady], 1)[0]
    return row | dict(mib_per_1000_steps=round(1000 * float(slope), 2), torch=torch.__version__, machine=machine_name())

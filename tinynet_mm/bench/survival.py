"""Kill a training again and again, and compare its end with that of a training that nobody kills.

Every start is a process of its own: ``tools/train.py`` with ``--resume``. Half of the SIGKILLs come while a checkpoint is
written, when its temporary file is in the work directory; the others come at random moments, as do the SIGTERMs.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..data.shapes import ShapesSpec, make_shapes
from ..errors import UserError
from ..files import machine_name
from ..mmlab.reading import read
from ..mmlab.resuming import latest_checkpoint

LOGS = '*/vis_data/scalars.json'
PARTS = ('state_dict', 'ema_state_dict')
POLL = 0.002  # seconds between two looks into the work directory
PATIENCE = 300.0  # seconds for a start of a training
CONFIG = 'rtmdet_tinynet_e_coco'
QUIET = ('train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False', 'default_hooks.logger.interval=1')


@dataclass(frozen=True)
class Killed:
    """One start of the training: the signal that was sent, and the exit status."""

    event: str
    status: int


def small_training(tools: Path, runs: Path, epochs: int, images: int, size: int, batch: int = 8) -> list[str]:
    """A command of ``tools/train.py``: a detector on drawn shapes, on one thread of the CPU, with augmentation and averages.

    Args:
        tools: the folder of ``train.py``, next to ``configs``.
        runs: a new folder, for the data.
        epochs: length of the training.
        images: drawn for training.
        size: their side in pixels.
        batch: images of a step.

    Raises:
        UserError: ``runs`` exists.
    """
    if runs.exists():
        raise UserError(f'{runs} exists; remove it, or give another folder with --runs.')
    spec = ShapesSpec(train=images, val=8, test=1, size=size, class_train=1, class_val=1, class_size=32)
    list(make_shapes(runs / 'data', spec))
    command = [tools / 'train.py', CONFIG, '--data-root', runs / 'data' / 'coco', '--input-size', size]
    command += ['--schedule', 'short', '--from-scratch', '--epochs', epochs, '--batch-size', batch]
    command += ['--threads', 1, '--workers', 0, '--device', 'cpu', '--cfg-options', *QUIET]
    return [str(word) for word in command]


def position(folder: Path) -> int:
    """Steps in the last complete checkpoint of a training; 0 without one."""
    path = latest_checkpoint(folder, lambda text: None)
    return read(path)['meta']['iter'] if path else 0


def start(command: Sequence[str], log: Path) -> subprocess.Popen:
    """Start the training; its output is appended to ``log``."""
    with log.open('a') as file:
        return subprocess.Popen([sys.executable, *command], stdout=file, stderr=subprocess.STDOUT)


def placed(command: Sequence[str], folder: Path) -> list[str]:
    """A command of ``tools/train.py`` with a work directory and ``--resume``, which begins where there is no checkpoint."""
    tool, config, *rest = command
    return [tool, config, '--work-dir', str(folder), '--resume', *rest]


def trains(folder: Path, earlier: set[Path]) -> bool:
    """Whether a log of MMEngine that is not one of ``earlier`` has a step."""
    return any('"loss"' in path.read_text() for path in set(folder.glob(LOGS)) - earlier)


def strike(process: subprocess.Popen, folder: Path, event: str, delay: float, earlier: set[Path]) -> None:
    """Send the signal of ``event`` after ``delay`` seconds of training, or while a checkpoint is written.

    Args:
        process: the training.
        folder: its work directory.
        event: 'SIGKILL', 'SIGKILL while saving', or 'SIGTERM'.
        delay: seconds after the first step.
        earlier: the logs that were there before the start.
    """
    begin = time.monotonic()
    while process.poll() is None and time.monotonic() - begin < PATIENCE and not trains(folder, earlier):
        time.sleep(POLL)
    end = time.monotonic() + (PATIENCE if 'saving' in event else delay)
    while process.poll() is None and time.monotonic() < end and not ('saving' in event and list(folder.glob('.*.part.pth'))):
        time.sleep(POLL)
    process.send_signal(signal.SIGTERM if event == 'SIGTERM' else signal.SIGKILL)
    process.wait(PATIENCE)


def survive(
    command: Sequence[str],
    folder: Path,
    kills: int,
    terms: int,
    rng: np.random.Generator,
    longest: float,
    note: Callable[[str], object] = lambda text: None,
) -> list[Killed]:
    """Kill a training ``kills`` times and stop it ``terms`` times, then let it end.

    Args:
        command: ``tools/train.py`` with its arguments, see :func:`placed`.
        folder: the work directory; it does not exist.
        kills: SIGKILLs.
        terms: SIGTERMs.
        rng: for the order and the moments.
        longest: the signal comes at most this many seconds after the first step of a start.
        note: receives a line for each start.

    Returns:
        one record for each start; the last one ends by itself.
    """
    events = ['SIGKILL while saving'] * (kills // 2) + ['SIGKILL'] * (kills - kills // 2) + ['SIGTERM'] * terms
    found, log = [], folder.parent / f'{folder.name}.log'
    for event in [*rng.permutation(events).tolist(), 'none']:
        before, earlier = position(folder), set(folder.glob(LOGS))
        process = start(command, log)
        if event != 'none':
            strike(process, folder, event, rng.uniform(0, longest), earlier)
        found.append(Killed(event, process.wait()))
        note(f'{event}: {before} to {position(folder)} steps saved, status {process.returncode}')
    return found


def largest_difference(one: Path, other: Path) -> float:
    """The largest difference of two checkpoints over all weights and averaged weights."""
    first, second = read(one), read(other)
    pairs = [(value.double(), second[part][key].double()) for part in PARTS for key, value in first[part].items()]
    return max(float((a - b).abs().max()) for a, b in pairs if a.numel())


def broken(folder: Path) -> list[str]:
    """Checkpoints in a work directory that cannot be read, and files that are left of a write."""
    left = [path.name for path in folder.glob('.*part*')]
    for path in folder.glob('[!.]*.pth'):
        try:
            read(path)
        except ValueError:
            left.append(path.name)
    return left


def compare(
    command: Sequence[str],
    folder: Path,
    last: str,
    kills: int,
    terms: int,
    seed: int,
    longest: float,
    note: Callable[[str], object] = lambda text: None,
) -> dict[str, object]:
    """Train without a kill and with kills; returns a row with the counts and the differences.

    Args:
        command: ``tools/train.py`` with its arguments, the config first.
        folder: for the work directories ``whole`` and ``killed``.
        last: name of the last checkpoint.
        kills: see :func:`survive`, as for all that follow.
        terms: SIGTERMs.
        seed: of the order and the moments.
        longest: in seconds.
        note: receives a line for each start.
    """
    folder.mkdir(parents=True)
    process = start(placed(command, folder / 'whole'), folder / 'whole.log')
    if process.wait():
        raise UserError(f'the training without kills fails: see {folder / "whole.log"}.')
    found = survive(
        placed(command, folder / 'killed'), folder / 'killed', kills, terms, np.random.default_rng(seed), longest, note
    )
    struck = [one for one in found if one.status in (-signal.SIGKILL, 128 + signal.SIGTERM, -signal.SIGTERM)]
    return dict(
        fault='signals during a training',
        tried=kills + terms,
        survived=len(struck) if found[-1].status == 0 else 0,
        kills=sum(one.status == -signal.SIGKILL for one in found),
        kills_while_saving=sum(one.event == 'SIGKILL while saving' and one.status == -signal.SIGKILL for one in found),
        sigterms_that_saved=sum(one.status == 128 + signal.SIGTERM for one in found),
        largest_difference=largest_difference(folder / 'whole' / last, folder / 'killed' / last),
        broken_files=len(broken(folder / 'killed')),
        seed=seed,
        torch=torch.__version__,
        machine=machine_name(),
    )

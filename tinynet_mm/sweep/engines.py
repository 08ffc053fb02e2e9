"""Run trials in parallel: in processes of this machine, or on Ray.

Both engines take trial directories and yield an :class:`Outcome` when a trial ends. Each trial has a separate process, so a trial
that is killed or runs out of memory does not stop the others. Local processes are forked from a server that has imported MMLab
(a start takes milliseconds, not three seconds). Ray restarts a trial if its worker or node dies; the trial resumes from its last
checkpoint. With several machines, the directory of the sweep and the data must be on a shared file system.
"""

import multiprocessing
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from ..errors import MissingPackageError, UserError
from ..files import to_number, write_text
from .folder import first_line, is_done, read_result
from .trial import Busy, log_event, run_trial

PRELOADED = ['mmpretrain.models', 'mmpretrain.evaluation', 'tinynet_mm.sweep.trial']
RAY_MISSING = "--engine ray needs Ray, which is not installed: pip install 'ray==2.58.0', or use --engine local."
BUSY = 3  # exit code of a process whose trial is locked by another one
Train = Callable[[Path], dict]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: ``status`` is done, failed or busy; ``text`` is its accuracy or its error."""

    name: str
    status: str
    text: str


def outcome(folder: Path, reason: str = 'another process is training it') -> Outcome:
    """Read the outcome of a trial from its directory; ``reason`` is the text if it has neither a result nor an error."""
    if is_done(folder) and (result := read_result(folder)):
        seconds = f' in {to_number(result["seconds"]):.0f} s' if 'seconds' in result else ''
        return Outcome(folder.name, 'done', f'{result["accuracy"]:.2f} %{seconds}')
    error = folder / 'error.txt'
    if error.is_file():
        return Outcome(folder.name, 'failed', f'{first_line(error)} (see {error})')
    return Outcome(folder.name, 'busy', reason)


def died(folder: Path, reason: str) -> Outcome:
    """Write error.txt for a trial whose process died, and return its outcome; it can be resumed from its last checkpoint."""
    if not is_done(folder):
        log_event(folder, 'died', reason)
        write_text(folder / 'error.txt', f'{reason}\n')
    return outcome(folder)


# In processes of this machine -------------------------------------------------------------------------------------------------


def local(folders: Sequence[Path], jobs: int = 1, train: Train | None = None) -> Iterator[Outcome]:
    """Run ``jobs`` trials in parallel, in processes that end when this process ends.

    Args:
        folders: directories of the trials.
        jobs: number of parallel trials.
        train: see :func:`tinynet_mm.sweep.trial.run_trial`.

    Yields:
        the outcome of each trial, in the order in which they end.

    Raises:
        UserError: ``jobs`` is below 1.
    """
    _check_jobs(jobs)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    waiting = deque(folders)
    running: dict[object, tuple[ForkServerProcess, Path]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                folder = waiting.popleft()
                process = context.Process(target=_child, args=(folder, train), name=folder.name)
                process.start()
                running[process.sentinel] = (process, folder)
            for sentinel in wait([process.sentinel for process, _ in running.values()]):
                process, folder = running.pop(sentinel)
                process.join()
                if process.exitcode in (0, BUSY):
                    yield outcome(folder)
                else:
                    yield died(folder, _reason(process.exitcode))
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _check_jobs(jobs: int) -> None:
    if jobs < 1:
        raise UserError(f'--jobs is {jobs}; give 1 or more.')


def _reason(code: int | None) -> str:
    if code is None or code >= 0:
        return f'its process ended with code {code}; log.txt in its folder has the output'
    return f'its process was killed by signal {-code}' + (' (out of memory?)' if code == -9 else '')


def _child(folder: Path, train: Train | None) -> None:
    """Train one trial in this process; the output goes to log.txt."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        run_trial(folder, train)
    except Busy:
        sys.exit(BUSY)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


# On Ray -----------------------------------------------------------------------------------------------------------------------


def on_ray(
    folders: Sequence[Path],
    jobs: int = 1,
    address: str | None = None,
    gpus_per_trial: float = 0.0,
    retries: int = 3,
    train: Train | None = None,
) -> Iterator[Outcome]:
    """Run trials on Ray.

    Args:
        folders: directories of the trials.
        jobs: number of parallel trials, if Ray is started on this machine.
        address: address of a cluster; None starts Ray on this machine.
        gpus_per_trial: GPUs of a trial; with a fraction, several trials share a GPU.
        retries: how many times a trial is restarted if its worker or node dies. Errors of the training are not retried.
        train: see :func:`tinynet_mm.sweep.trial.run_trial`.

    Yields:
        the outcome of each trial, in the order in which they end.

    Raises:
        UserError: ``jobs`` is below 1.
        MissingPackageError: Ray is not installed.
    """
    _check_jobs(jobs)
    try:
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        import ray
    except ImportError as error:
        raise MissingPackageError(RAY_MISSING) from error
    ray.init(address=address, num_cpus=None if address else jobs, include_dashboard=False, log_to_driver=False)
    # one process per trial (max_calls=1): MMEngine keeps the loggers and histories of all runners until its process ends
    task = ray.remote(num_cpus=1, num_gpus=gpus_per_trial, max_retries=retries, max_calls=1)(_remote)
    waiting = {task.remote(folder.resolve(), Path.cwd(), train): folder for folder in folders}
    try:
        while waiting:
            for reference in ray.wait(list(waiting))[0]:
                folder = waiting.pop(reference)
                try:
                    ray.get(reference)
                    yield outcome(folder)
                except ray.exceptions.RayError as error:
                    text = re.sub(r'\x1b\[[0-9;]*m', '', str(error))  # Ray's messages have colour codes
                    yield died(folder, f'{type(error).__name__}: {" ".join(text.split())[:300]}')
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _remote(folder: Path, directory: Path, train: Train | None) -> None:
    os.chdir(directory)  # paths of the data may be relative to the directory where the sweep was started
    try:
        run_trial(folder, train)
    except Busy:
        return


# Progress ---------------------------------------------------------------------------------------------------------------------


class Progress:
    """Progress lines: how many trials have ended, how many failed, and the time left.

    The time left is estimated from the multiply-adds of the networks, not from the number of trials: sweeps are often sorted from
    small to large networks, and the number of trials then gives half of the real time.

    Args:
        macs: multiply-adds of the network of each trial, by the trial's name.
        clock: seconds.
    """

    def __init__(self, macs: Mapping[str, float], clock: Callable[[], float] = time.monotonic):
        self.waiting, self.total, self.trained = dict(macs), len(macs), 0.0
        self.failed = 0
        self.unfinished: list[str] = []
        self.clock, self.started = clock, clock()

    def line(self, ended: Outcome) -> str:
        """Count a trial that ended, and return the line to print."""
        macs, done = self.waiting.pop(ended.name), ended.status == 'done'
        self.failed += ended.status == 'failed'
        self.trained += macs * done
        self.unfinished += [] if done else [ended.name]
        text = ended.text if done else f'{ended.status}: {ended.text}'
        failed = f', {self.failed} failed' if self.failed else ''
        return f'[{self.total - len(self.waiting)}/{self.total}] {ended.name} {text} ({self._left()} left{failed})'

    def _left(self) -> str:
        if not self.trained:
            return f'{len(self.waiting)} trials'
        return duration((self.clock() - self.started) / self.trained * sum(self.waiting.values()))


def duration(seconds: float) -> str:
    """Format seconds as '40 s', '12 min' or '3 h 20 min'."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02d} min'

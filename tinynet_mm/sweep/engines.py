"""Trials side by side: in processes of this machine, or on Ray.

Both take trial directories and yield an :class:`Outcome` for each as it ends. A trial is a process of its own, so one that is
killed, or runs out of memory, ends alone. Locally the processes are forked from a server which has imported MMLab already
(starting one costs milliseconds, not three seconds). Ray starts a trial again whose worker or node died; it goes on from its last
checkpoint. On several machines the directory of the sweep and the data are on a file system that they share.
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
from pathlib import Path

from ..errors import MissingPackageError, UserError
from ..files import write_text
from .folder import is_done, read_result
from .trial import Busy, log_event, run_trial

PRELOADED = ['mmpretrain.models', 'mmpretrain.evaluation', 'tinynet_mm.sweep.trial']
RAY_MISSING = "--engine ray needs Ray, which is not installed: pip install 'ray==2.58.0'; --engine local needs nothing more."
BUSY = 3  # exit code of a process which found its trial locked
Train = Callable[[Path], dict]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: ``status`` is done, failed or busy; ``text`` says its accuracy, or what went wrong."""

    name: str
    status: str
    text: str


def outcome(folder: Path, reason: str = 'another process is training it') -> Outcome:
    """Read a trial's directory; ``reason`` is why there may be neither result nor error."""
    if is_done(folder):
        result = read_result(folder)
        seconds = f' in {result["seconds"]:.0f} s' if 'seconds' in result else ''
        return Outcome(folder.name, 'done', f'{result["accuracy"]:.2f} %{seconds}')
    error = folder / 'error.txt'
    if error.is_file():
        return Outcome(folder.name, 'failed', f'{error.read_text().splitlines()[0]} (see {error})')
    return Outcome(folder.name, 'busy', reason)


def died(folder: Path, reason: str) -> Outcome:
    """The outcome of a trial whose process is gone; it can be run again, from its last checkpoint."""
    if not is_done(folder):
        log_event(folder, 'died', reason)
        write_text(folder / 'error.txt', f'{reason}\n')
    return outcome(folder)


# In processes of this machine -------------------------------------------------------------------------------------------------


def local(folders: Sequence[Path], jobs: int = 1, train: Train | None = None) -> Iterator[Outcome]:
    """Run ``jobs`` trials at a time. They end with this process, however it ends."""
    _check_jobs(jobs)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    waiting, running = deque(folders), {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                folder = waiting.popleft()
                process = context.Process(target=_child, args=(folder, train), name=folder.name)
                process.start()
                running[process.sentinel] = (process, folder)
            for sentinel in wait(list(running)):
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
        raise UserError(f'{jobs} trials at a time train nothing; --jobs is 1 or more.')


def _reason(code: int) -> str:
    if code >= 0:
        return f'its process ended with code {code}; its log.txt has the last words'
    return f'its process was ended by signal {-code}' + (' (out of memory?)' if code == -9 else '')


def _child(folder: Path, train: Train | None) -> None:
    """The whole life of a local trial's process; what it prints goes to log.txt."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log = os.open(folder / 'log.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        run_trial(folder, train)
    except Busy:
        sys.exit(BUSY)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
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
    """Run trials on Ray: a cluster's at ``address``, otherwise one of this machine with room for ``jobs`` trials.

    Args:
        gpus_per_trial: a fraction lets several trials share a GPU.
        retries: how often a trial is started again whose worker or node died. An error of the training itself is not retried.
    """
    _check_jobs(jobs)
    try:
        os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
        import ray
    except ImportError as error:
        raise MissingPackageError(RAY_MISSING) from error
    ray.init(address=address, num_cpus=None if address else jobs, include_dashboard=False, log_to_driver=False)
    # a process for each trial (max_calls=1): MMEngine keeps every runner's loggers and histories until its process ends
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
                    text = re.sub(r'\x1b\[[0-9;]*m', '', str(error))  # Ray colours its messages
                    yield died(folder, f'{type(error).__name__}: {" ".join(text.split())[:300]}')
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        ray.shutdown()


def _remote(folder: Path, directory: Path, train: Train | None) -> None:
    os.chdir(directory)  # the recipe's data may lie relative to where the sweep was started
    try:
        run_trial(folder, train)
    except Busy:
        return


# Progress ---------------------------------------------------------------------------------------------------------------------


class Progress:
    """Lines for the user: how many trials have ended, what failed, and the time left.

    ``macs`` has the multiply-adds of each trial's network: the time left is that of the MACs left, at the pace of those trained
    so far. Sweeps are often sampled from small to large, where the pace in trials promises half of the time it takes.
    """

    def __init__(self, macs: Mapping[str, float], clock: Callable[[], float] = time.monotonic):
        self.waiting, self.total, self.trained = dict(macs), len(macs), 0.0
        self.failed, self.unfinished = 0, []
        self.clock, self.started = clock, clock()

    def line(self, ended: Outcome) -> str:
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
    """'40 s', '12 min', '3 h 20 min'."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{minutes} min' if minutes < 100 else f'{minutes // 60} h {minutes % 60:02d} min'

"""The clock of every benchmark: contenders take turns, warm-up rounds do not count, each number has its spread and protocol."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from ..files import machine_name


def timed(call: Callable[[], object], now: Callable[[], float] = time.perf_counter) -> tuple[float, object]:
    """Seconds of one call by the clock ``now``, and its result."""
    start = now()
    result = call()
    return now() - start, result


def in_turns(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Wall-clock seconds of each contender in each of ``rounds`` rounds, after ``warm_up`` rounds that do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + warm_up):
        for name, contender in contenders.items():
            spent, _ = timed(contender)
            if turn >= warm_up:
                seconds[name].append(spent)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> tuple[float, float, float]:
    """Median, least and most."""
    return tuple(round(float(value), digits) for value in (statistics.median(values), min(values), max(values)))


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The ratio of two contenders in each round."""
    return [a / b for a, b in zip(first, second)]


def protocol() -> dict[str, str | int]:
    """Machine, threads, load and versions, which stand beside every measured number."""
    versions = dict(python=platform.python_version(), torch=torch.__version__)
    return versions | dict(threads=torch.get_num_threads(), load=f'{os.getloadavg()[0]:.1f}', machine=machine_name())

"""The clock of all benchmarks: contenders take turns, warm-up rounds do not count, every number has a spread and a protocol."""

import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch

from ..files import machine_load, machine_name

T = TypeVar('T')


def timed(call: Callable[[], T], now: Callable[[], float] = time.perf_counter) -> tuple[float, T]:
    """Seconds of one call by the clock ``now``, and its result."""
    start = now()
    result = call()
    return now() - start, result


def in_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, list[float]]:
    """Time contenders in turns.

    Args:
        contenders: what to call, by name; results are discarded.
        rounds: rounds that count; in each, every contender is called once.
        warm_up: rounds before them that do not count.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        wall-clock seconds of each contender in each of ``rounds`` rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in progress(range(rounds + warm_up)):
        for name, contender in contenders.items():
            spent, _ = timed(contender)
            if turn >= warm_up:
                seconds[name].append(spent)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> tuple[float, float, float]:
    """Median, minimum and maximum, rounded to ``digits`` decimals."""
    return round(float(statistics.median(values)), digits), round(float(min(values)), digits), round(float(max(values)), digits)


def ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The ratio of two contenders in each round."""
    return [a / b for a, b in zip(first, second)]


def protocol() -> dict[str, str | int]:
    """Versions, threads, load and machine, to be written next to every measured number."""
    return dict(
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        load=f'{machine_load():.1f}',
        machine=machine_name(),
    )

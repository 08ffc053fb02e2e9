"""Time contenders in turns, and the names of the runtimes; without torch, so that exported files are timed where they run.

Each run is timed separately, contenders run in turns, and a turn starts with a run that is not timed.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import UserError, did_you_mean
from .backends import Network
from .packages import package

IN_TORCH = ('eager', 'compile')
RUNTIMES: dict[str, tuple[str, ...]] = {  # the packages of each, its own last
    'onnx': ('onnx', 'onnxslim', 'onnxruntime'),
    'openvino': ('onnx', 'onnxslim', 'openvino'),
    'ncnn': ('onnx', 'onnxslim', 'pnnx', 'ncnn'),
    'eager': ('torch',),
    'compile': ('torch',),
    'onnx-int8': ('onnx', 'onnxslim', 'onnxruntime'),
    'openvino-int8': ('onnx', 'onnxslim', 'nncf', 'openvino'),
}

TURN = 10  # timed runs of a contender in a turn

Step = Callable[[Any], Any]  # receives what the step before it returned, None for the first


def check_runtime(runtime: str) -> None:
    """Check that a runtime is one of :data:`RUNTIMES` and that its packages are installed.

    Raises:
        UserError: an unknown runtime.
        MissingPackageError: a package is not installed; the message names the pip command.
    """
    if runtime not in RUNTIMES:
        raise UserError(f'unknown runtime {runtime!r}.{did_you_mean(runtime, RUNTIMES)} Known: {", ".join(RUNTIMES)}.')
    for name in RUNTIMES[runtime]:
        package(name)


def runtime_name(runtime: str) -> str:
    """The package of a runtime and its version."""
    module = package(RUNTIMES[runtime][-1])
    how = runtime if runtime in IN_TORCH else runtime.partition('-')[2]
    return f'{module.__name__} {module.__version__.partition("-")[0]} {how}'.rstrip()


def check_runs(runs: int, warmup: int) -> None:
    """Raise UserError if no run is timed, or the warm-up is negative."""
    if runs < 1 or warmup < 0:
        raise UserError(f'runs={runs}, warmup={warmup}: give at least one run and no negative warm-up.')


def network_step(network: Network, images: np.ndarray) -> Step:
    """A step that runs a network on a batch."""
    return lambda _: network.run(images)


def timed_rounds(
    contenders: Mapping[str, Sequence[Step]],
    warmup: int,
    runs: int,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[str, np.ndarray]:
    """Run the contenders in turns, so that other load on the machine affects all of them equally.

    A turn is one run that is not timed, which brings the weights back into the caches of the processor, and ten timed runs.

    Args:
        contenders: the steps of one run of each contender, by name.
        warmup: runs of each contender before the first turn.
        runs: timed runs of each contender.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        milliseconds of each contender, (runs, steps, 2): wall-clock time, and CPU time of all threads of this process.
    """
    times: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in contenders}
    for steps in contenders.values():
        for _ in range(warmup):
            run_steps(steps)
    for start in progress(range(0, runs, TURN)):
        for name, steps in contenders.items():
            run_steps(steps)
            times[name] += [run_steps(steps) for _ in range(min(TURN, runs - start))]
    return {name: np.array(laps) for name, laps in times.items()}


def run_steps(steps: Sequence[Step]) -> list[tuple[float, float]]:
    """Run steps one after the other; returns the milliseconds of each: wall-clock time, and CPU time of this process."""
    laps, value = [], None
    wall, processor = time.perf_counter(), time.process_time()
    for step in steps:
        value = step(value)
        now = time.perf_counter(), time.process_time()
        laps.append((1e3 * (now[0] - wall), 1e3 * (now[1] - processor)))
        wall, processor = now
    return laps

"""The clock of latency on the CPU of this machine, and the latency of ONNX files in ONNX Runtime.

The protocol is that of the paper's table 4: one thread, batch 1. Each run is timed separately, contenders run in turns, and every
row has threads, batch, resolution, precision, runtime and machine. :mod:`tinynet_mm.bench.latency` makes the table of networks
and runtimes with this clock.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..archs import Arch
from ..errors import UserError
from ..files import machine_name
from ..formula.solve import Meter
from .backends import Network, check_threads, open_network
from .export import export_onnx, random_images
from .packages import package
from .spec import Spec

Step = Callable[[Any], Any]  # receives what the step before it returned, None for the first


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run (input in memory to logits), with the protocol.

    Medians and percentiles are wall-clock times. ``processor_ms`` is the median of the CPU time of the same runs: on an idle
    machine the two are equal, otherwise the wall-clock time includes the time of other programs.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    processor_ms: float
    runs: int
    warmup: int
    threads: int
    batch: int
    resolution: int
    precision: str
    runtime: str
    machine: str

    def row(self) -> dict:
        """Return the fields as a row for a CSV file."""
        return asdict(self)


def measure(path: str | Path, threads: int = 1, warmup: int = 10, runs: int = 100) -> Latency:
    """Time one file; see :func:`measure_interleaved`."""
    return measure_interleaved({'file': path}, threads, warmup, runs)['file']


def measure_interleaved(
    paths: Mapping[str, str | Path], threads: int = 1, warmup: int = 10, runs: int = 100
) -> dict[str, Latency]:
    """Time several files in turns of one run each, so that other load on the machine affects all of them equally.

    Args:
        paths: ONNX files by name.
        threads: threads within an operator.
        warmup: runs of each file before the timed ones.
        runs: timed runs of each file.

    Raises:
        UserError: no run is timed, the number of threads is not available, or a file has an input of variable shape.
        FileNotFoundError: a file is missing.
        MissingPackageError: onnxruntime is not installed.
    """
    check_runs(runs, warmup)
    networks = {name: open_network(path, threads) for name, path in paths.items()}
    contenders = {name: [network_step(network, _feed(network, paths[name]))] for name, network in networks.items()}
    times = timed_rounds(contenders, warmup, runs)
    return {name: _summary(times[name][:, 0], networks[name].spec, warmup, threads) for name in paths}


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
    """Run every contender once in each round, so that other load on the machine affects all of them equally.

    Args:
        contenders: the steps of one run of each contender, by name.
        warmup: rounds that are not timed.
        runs: timed rounds.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        milliseconds of each contender, (runs, steps, 2): wall-clock time, and CPU time of all threads of this process.
    """
    times: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in contenders}
    for turn in progress(range(warmup + runs)):
        for name, steps in contenders.items():
            laps = run_steps(steps)
            if turn >= warmup:
                times[name].append(laps)
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


def least_ms(path: str | Path, threads: int = 1, runs: int = 10, bursts: int = 30, agreement: float = 0.03) -> float:
    """Return the minimum time of one run in milliseconds.

    Measures bursts of ``runs`` runs until the minima of two bursts differ by at most the share ``agreement``, or ``bursts``
    bursts are done. This also works on a busy machine, since other load only adds to a time. With one thread it uses CPU time,
    which does not include other programs. (Next to eight busy programs the wall-clock time was four times as long.)
    """
    network, clock = open_network(path, threads), 1 if threads == 1 else 0
    feed, least = _feed(network, path), []
    for _ in range(bursts):
        least.append(min(_timed(network, feed)[clock] for _ in range(runs)))
        first, second = sorted(least)[:2] if len(least) > 1 else (0.0, 1.0)
        if second <= (1 + agreement) * first:
            break
    return min(least)


def latency_meter(build: Callable[[Arch], nn.Module], threads: int = 1) -> Meter:
    """Return a meter for budgets in milliseconds.

    ``build`` builds a network, which is exported and timed with :func:`least_ms`; each architecture is timed once. The grid of
    the width is 0.01, because smaller steps are below the noise.
    """
    check_threads(threads)
    known: dict[Arch, float] = {}

    def time_of(arch: Arch) -> float:
        if arch not in known:
            with tempfile.TemporaryDirectory() as folder:
                known[arch] = least_ms(export_onnx(build(arch), Path(folder) / 'network.onnx', arch.resolution), threads)
        return known[arch]

    return Meter('ms', time_of, grid=0.01)


def compare(
    archs: Mapping[str, Arch], build: Callable[[Arch], nn.Module], threads: int = 1, runs: int = 100
) -> dict[str, Latency]:
    """Build, export and time several networks in turns, each at the resolution of its architecture."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: export_onnx(build(arch), Path(folder) / f'{index}.onnx', arch.resolution)
            for index, (name, arch) in enumerate(archs.items())
        }
        return measure_interleaved(paths, threads, runs=runs)


def _timed(network: Network, feed: np.ndarray) -> tuple[float, float]:
    """Return the milliseconds of one run: wall-clock time, and CPU time of all threads of this process."""
    return run_steps([network_step(network, feed)])[0]


def _feed(network: Network, path: str | Path) -> np.ndarray:
    if not network.spec.batch:
        raise UserError(f'{path} takes batches of any size; export the file for a fixed batch.')
    return random_images(network.spec, network.spec.batch).numpy()


def _summary(times: np.ndarray, spec: Spec, warmup: int, threads: int) -> Latency:
    wall, processor = times.T
    p10, median, p90 = (float(q) for q in np.percentile(wall, (10, 50, 90)))
    runtime = f'onnxruntime {package("onnxruntime").__version__} CPU'
    protocol = (len(times), warmup, threads, spec.batch, spec.height, spec.precision, runtime, machine_name())
    return Latency(median, p10, p90, float(np.median(processor)), *protocol)

"""Latency of ONNX files in ONNX Runtime on the CPU of this machine.

The protocol is that of the paper's table 4 (one thread, batch 1), with medians instead of means. Each run is timed separately,
files that are compared run in turns, and every row has threads, batch, resolution, precision, runtime and machine.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

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
    if runs < 1 or warmup < 0:
        raise UserError(f'runs={runs}, warmup={warmup}: give at least one run and no negative warm-up.')
    networks = {name: open_network(path, threads) for name, path in paths.items()}
    feeds = {name: _feed(network, paths[name]) for name, network in networks.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for turn in range(warmup + runs):
        for name, network in networks.items():
            both = _timed(network, feeds[name])
            if turn >= warmup:
                times[name].append(both)
    return {name: _summary(times[name], networks[name].spec, warmup, threads) for name in paths}


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
    wall, processor = time.perf_counter(), time.process_time()
    network.run(feed)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def _feed(network: Network, path: str | Path) -> np.ndarray:
    if not network.spec.batch:
        raise UserError(f'{path} takes batches of any size; export the file for a fixed batch.')
    return random_images(network.spec, network.spec.batch).numpy()


def _summary(times: list[tuple[float, float]], spec: Spec, warmup: int, threads: int) -> Latency:
    wall, processor = np.array(times).T
    p10, median, p90 = (float(q) for q in np.percentile(wall, (10, 50, 90)))
    runtime = f'onnxruntime {package("onnxruntime").__version__} CPU'
    protocol = (len(times), warmup, threads, spec.batch, spec.height, spec.precision, runtime, machine_name())
    return Latency(median, p10, p90, float(np.median(processor)), *protocol)

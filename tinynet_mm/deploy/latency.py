"""Latency of ONNX files in ONNX Runtime on this machine's CPU.

The protocol of the paper's table 4 (one thread, batch 1) with medians in place of means: each run is timed by itself, files that
are compared take turns, and every row says threads, batch, resolution, precision, runtime and machine.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from torch import nn

from ..archs import Arch
from ..errors import UserError
from ..files import machine_name
from ..formula.solve import Meter
from .export import check_threads, export_onnx, session


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run (input in memory to logits), with the protocol.

    Medians and percentiles are of the wall clock. ``processor_ms`` is the median of the processor time of the same runs: on a
    machine that does nothing else the two are equal, elsewhere the wall clock also holds the turns of other programs.
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
        return asdict(self)


def measure(path: str | Path, threads: int = 1, warmup: int = 10, runs: int = 100) -> Latency:
    """Time one file; see :func:`measure_interleaved`."""
    return measure_interleaved({'it': path}, threads, warmup, runs)['it']


def measure_interleaved(
    paths: Mapping[str, str | Path], threads: int = 1, warmup: int = 10, runs: int = 100
) -> dict[str, Latency]:
    """Time several files in turns of one run each, so that a busy machine is as busy for all of them."""
    if runs < 1 or warmup < 0:
        raise UserError(f'runs={runs}, warmup={warmup}: at least one run is timed.')
    sessions = {name: session(path, threads) for name, path in paths.items()}
    feeds = {name: _feed(s) for name, s in sessions.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    for turn in range(warmup + runs):
        for name, runtime in sessions.items():
            both = _timed(runtime, feeds[name])
            if turn >= warmup:
                times[name].append(both)
    return {name: _summary(times[name], feeds[name], warmup, threads) for name in paths}


def least_ms(path: str | Path, threads: int = 1, runs: int = 10, bursts: int = 30, agreement: float = 0.03) -> float:
    """The least time of one run, in milliseconds, once two bursts of ``runs`` runs agree on it, or after all ``bursts``.

    For a budget the machine need not be quiet: other work only adds to a time, and with one thread it is processor time that
    counts, which holds no other program's turns. (Beside eight busy programs the wall clock was off by a factor of four.)
    """
    runtime, least, clock = session(path, threads), [], 1 if threads == 1 else 0
    feed = _feed(runtime)
    for _ in range(bursts):
        least.append(min(_timed(runtime, feed)[clock] for _ in range(runs)))
        first, second = sorted(least)[:2] if len(least) > 1 else (0.0, 1.0)
        if second <= (1 + agreement) * first:
            break
    return min(least)


def latency_meter(build: Callable[[Arch], nn.Module], threads: int = 1) -> Meter:
    """A budget in milliseconds: ``build`` makes the network, which is exported and timed by :func:`least_ms`, once each.

    The width's grid is 0.01: finer steps drown in noise.
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
    """Build, export and time several networks in turns, each at its own resolution."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            name: export_onnx(build(arch), Path(folder) / f'{index}.onnx', arch.resolution)
            for index, (name, arch) in enumerate(archs.items())
        }
        return measure_interleaved(paths, threads, runs=runs)


def _timed(runtime: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> tuple[float, float]:
    """Milliseconds of one run: by the wall clock, and of this process's processor time (all of its threads)."""
    wall, processor = time.perf_counter(), time.process_time()
    runtime.run(None, feed)
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def _feed(runtime: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    (image,) = runtime.get_inputs()
    if not all(isinstance(side, int) for side in image.shape):
        raise UserError(f'input {image.name} has the open shape {image.shape}; time a file exported for one size.')
    return {image.name: np.random.default_rng(0).standard_normal(image.shape, dtype=np.float32)}


def _summary(times: list[tuple[float, float]], feed: dict[str, np.ndarray], warmup: int, threads: int) -> Latency:
    wall, processor = np.array(times).T
    p10, median, p90 = (float(q) for q in np.percentile(wall, (10, 50, 90)))
    batch, _, _, side = next(iter(feed.values())).shape
    runtime = f'onnxruntime {onnxruntime.__version__} CPU'
    protocol = (len(times), warmup, threads, batch, side, 'fp32', runtime, machine_name())
    return Latency(median, p10, p90, float(np.median(processor)), *protocol)

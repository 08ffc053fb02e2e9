"""Time exported files, without torch; :mod:`.latency` times networks with torch beside them.

All contenders run in turns. The rows have the protocol.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import read_image
from ..deploy.backends import SUFFIXES, check_threads, open_network
from ..deploy.clock import RUNTIMES, Step, check_runs, network_step, runtime_name, timed_rounds
from ..deploy.resize import Placed
from ..deploy.runtime import Detector
from ..deploy.spec import Spec
from ..errors import UserError, did_you_mean
from ..files import machine_load, machine_name

SUFFIX = {'onnx': '.onnx', 'openvino': '.xml', 'ncnn': '.param'}
PRODUCT = 'matrix product'
SIDE = 1024  # of the matrices: one product takes 15 to 40 ms on one core

Note = Callable[[str], object]
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Protocol:
    """How to time.

    Attributes:
        threads: of the processor inside an operator.
        batch: images in a batch.
        runs: timed runs of each contender.
        warmup: runs before them.
        image: an image file for the time from file to boxes of exported detectors.
    """

    threads: int = 1
    batch: int = 1
    runs: int = 1000
    warmup: int = 50
    image: Path | None = None


@dataclass(frozen=True)
class Contender:
    """A network in a runtime.

    Attributes:
        name: the network.
        runtime: its name and version.
        spec: input, outputs, precision and MACs.
        steps: one run: the network, or pre-processing, network and post-processing.
        feed: the input, in words.
    """

    name: str
    runtime: str
    spec: Spec
    steps: Sequence[Step]
    feed: str = 'random'


def is_file(name: str) -> bool:
    """Whether a network is given as an exported file."""
    return Path(name).suffix in SUFFIXES


def compare_files(
    names: Sequence[str], runtimes: Sequence[str], protocol: Protocol, note: Note, progress: Progress = iter
) -> list[dict]:
    """Time exported files in turns, without torch; there is no matrix product, so no roof.

    Args:
        names: paths of files of `tinynet export`.
        runtimes: files of other runtimes are left out, with a note.
        protocol: how to time.
        note: receives a line for each file that is left out.
        progress: wraps the rounds.

    Raises:
        FileNotFoundError, UserError: a file or an image that cannot be read, or a bad number.
        MissingPackageError: a runtime is not installed.
    """
    check(protocol, runtimes)
    found = []
    for name in dict.fromkeys(names):
        runtime = next(key for key, suffix in SUFFIX.items() if suffix == Path(name).suffix)
        if runtime not in runtimes:
            note(f'{name} has no row: it runs in {runtime}; add it to --runtime.')
        else:
            found.append(file_contender(name, spec_of(name, protocol.batch), runtime, protocol))
    return time_contenders(found, runtimes, protocol, progress)


def check(protocol: Protocol, runtimes: Sequence[str]) -> None:
    """Raise UserError for no or an unknown runtime, a bad number, or an image that cannot be read."""
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise UserError(f'unknown runtime {runtime!r}.{did_you_mean(runtime, RUNTIMES)} Known: {", ".join(RUNTIMES)}.')
    if not runtimes:
        raise UserError(f'no runtime is given; known: {", ".join(RUNTIMES)}.')
    check_threads(protocol.threads)
    check_runs(protocol.runs, protocol.warmup)
    if protocol.batch < 1:
        raise UserError(f'batch={protocol.batch}: give at least one image.')
    if protocol.image is not None:
        read_image(protocol.image)


def spec_of(name: str, batch: int) -> Spec:
    """The description in an exported file, for batches of ``batch`` images.

    Raises:
        FileNotFoundError, UserError: a file that cannot be read, or one for another batch.
    """
    spec = open_network(name).spec
    if spec.batch not in (0, batch):
        raise UserError(f'{name} takes batches of {spec.batch}, not {batch}; give --batch {spec.batch}, or export it again.')
    return replace(spec, batch=batch)


def time_contenders(
    found: Sequence[Contender], runtimes: Sequence[str], protocol: Protocol, progress: Progress, product: Step | None = None
) -> list[dict]:
    """Time contenders in turns, with a product of two matrices beside them if ``product`` is given; returns a row for each.

    Raises:
        UserError: no contender, or an image that none reads.
    """
    if not found:
        raise UserError(f'none of the networks runs in {", ".join(runtimes)}; the notes above say why.')
    if protocol.image and all(contender.feed == 'random' for contender in found):
        raise UserError('--image is for exported detectors with decoded boxes and batch 1 (.onnx, .xml, .param); give one.')
    load = machine_load()
    keyed = {f'{place}': contender.steps for place, contender in enumerate(found)}
    times = timed_rounds(keyed | ({PRODUCT: [product]} if product else {}), protocol.warmup, protocol.runs, progress)
    rate = SIDE**3 / np.median(times.pop(PRODUCT)[:, 0, 0]) / 1e6 if product else None  # 1e9 multiply-adds a second
    about = dict(load=f'{load:.1f}', machine=machine_name())
    return [row(contender, times[key], rate, protocol) | about for key, contender in zip(keyed, found)]


def file_contender(name: str, spec: Spec, runtime: str, protocol: Protocol, path: Path | None = None) -> Contender:
    """A file in its runtime: its network alone, or with ``protocol.image`` from the image file to boxes.

    Args:
        name: of the row; it is the file itself without ``path``.
        spec: of the file, with the batch of the protocol.
        runtime: of the file.
        protocol: how it is timed.
        path: a file that was made for this table, whose network is timed alone.
    """
    label = runtime_name(runtime)
    if path is None and protocol.image and spec.task == 'detection' and spec.post != 'raw' and spec.batch == 1:
        steps = from_file_to_boxes(Detector(name, protocol.threads), protocol.image)
        return Contender(name, label, spec, steps, described(protocol.image))
    network = open_network(path or name, protocol.threads)
    spec = replace(spec, precision=network.spec.precision)
    return Contender(name, label, spec, [network_step(network, random_input(spec))])


def random_input(spec: Spec, seed: int = 0) -> np.ndarray:
    """A batch of random images as a file takes them: (B, H, W, 3) uint8, or (B, 3, H, W) float32."""
    rng = np.random.default_rng(seed)
    if spec.preprocess:
        return rng.integers(0, 256, (spec.batch, spec.height, spec.width, 3), dtype=np.uint8)
    return rng.standard_normal((spec.batch, 3, spec.height, spec.width), dtype=np.float32)


def from_file_to_boxes(detector: Detector, image: Path) -> list[Step]:
    """Pre-processing (read, decode, resize, normalise), network, and post-processing (select, suppress, scale) of one image."""

    def before(_: Any) -> tuple[np.ndarray, Placed]:
        batch = detector.writer.batch(1)
        return batch, detector.writer.write(read_image(image), batch[0])

    def network(given: tuple[np.ndarray, Placed]) -> tuple[Mapping[str, np.ndarray], Placed]:
        return detector.network.run(given[0]), given[1]

    def after(given: tuple[Mapping[str, np.ndarray], Placed]) -> tuple[np.ndarray, ...]:
        return detector.select(*given)

    return [before, network, after]


def described(image: Path) -> str:
    """The name and the size of an image file."""
    height, width = read_image(image).shape[:2]
    return f'{image.name} {width}x{height}'


def row(contender: Contender, times: np.ndarray, rate: float | None, protocol: Protocol) -> dict:
    """The row of a contender.

    Args:
        contender: what ran.
        times: milliseconds of its runs, (runs, steps, 2), see :func:`~tinynet_mm.deploy.clock.timed_rounds`.
        rate: of the matrix product in 1e9 multiply-adds a second; None if it was not timed.
        protocol: how it was timed.
    """
    spec, wall = contender.spec, times[:, :, 0]
    total, parts = wall.sum(axis=1), wall.mean(axis=0)
    roof = spec.batch * spec.macs / rate / 1e6 if rate else 0.0
    network = wall[:, 1] if len(parts) == 3 else total
    alone = len(parts) == 3 or spec.post != 'boxes'  # whether the network was timed apart from the rest
    split = dict(pre_ms=parts[0], network_ms=parts[1], post_ms=parts[2]) if len(parts) == 3 else dict(network_ms=parts[0])
    measured = dict(
        mean_ms=total.mean(), median_ms=np.median(total), p95_ms=np.percentile(total, 95), min_ms=total.min(),
        processor_ms=times[:, :, 1].sum(axis=1).mean(), pre_ms=None, network_ms=None, post_ms=None,
    )  # fmt: skip
    measured |= split if alone else {}
    bound = dict(roof_ms=roof, times_roof=np.median(network) / roof) if roof and alone else dict(roof_ms=None, times_roof=None)
    numbers = {key: '' if value is None else f'{value:.4g}' for key, value in (measured | bound).items()}
    return (
        dict(model=contender.name, runtime=contender.runtime, precision=spec.precision, outputs=spec.post)
        | numbers
        | dict(
            macs=spec.macs or '',
            gemm_gmacs_per_s=f'{rate:.4g}' if rate else '',
            height=spec.height,
            width=spec.width,
            batch=spec.batch,
        )
        | dict(threads=protocol.threads, input=contender.feed, runs=len(times), warmup=protocol.warmup)
    )

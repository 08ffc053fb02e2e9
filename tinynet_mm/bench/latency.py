"""The table of latency: networks in eager torch, torch.compile, ONNX Runtime, OpenVINO and ncnn, in float32 and in int8.

The protocol is that of the paper's table 4: one thread, batch 1, and the mean of the runs; the median, the 95th percentile and
the CPU time are given too. All contenders run in turns. In each round a product of two square float32 matrices runs as
well: its median rate gives the roof, the time that the multiply-adds of a network take at that rate.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from ..data.images import read_image
from ..deploy.backends import check_threads, open_network
from ..deploy.describe import describe
from ..deploy.export import Options, convert, export_model, export_onnx, random_images
from ..deploy.latency import (
    RUNTIMES,
    Step,
    check_runs,
    check_runtime,
    compiled,
    converted,
    network_step,
    runtime_name,
    timed_rounds,
)
from ..deploy.resize import Placed
from ..deploy.runtime import Detector
from ..deploy.spec import Spec
from ..errors import MissingPackageError, UserError, did_you_mean, one_line
from ..files import machine_name
from ..mmlab.checkpoints import load_model
from ..mmlab.configs import load_config, test_pipeline
from .networks import Candidate, find_network, with_loss

IN_TORCH = ('eager', 'compile')
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


def compare(
    names: Sequence[str],
    runtimes: Sequence[str],
    protocol: Protocol = Protocol(),
    reference: tuple[str, str] | None = None,
    note: Note = lambda text: None,
    progress: Progress = iter,
) -> list[dict]:
    """Time networks in runtimes, in turns.

    Args:
        names: of :func:`~tinynet_mm.bench.networks.find_network`.
        runtimes: some of :data:`~tinynet_mm.deploy.latency.RUNTIMES`; int8 is calibrated on random images.
        protocol: how to time.
        reference: config and checkpoint of a detector whose time from file to boxes in mmdet's ``inference_detector`` is a row.
        note: receives a line for each contender that is left out.
        progress: wraps the rounds.

    Returns:
        a row for each network and runtime, with its protocol.

    Raises:
        FileNotFoundError, UserError: an unknown network or runtime, a file or image that cannot be read, or a bad number.
        MissingPackageError: a package is not installed.
    """
    _check(names, runtimes, protocol, reference)
    candidates = [find_network(name, protocol.batch) for name in dict.fromkeys(names)]
    with _threads(protocol.threads), tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        found = [] if reference is None else [_reference(*reference, protocol)]
        for place, candidate in enumerate(candidates):
            found += _contenders(candidate, runtimes, protocol, Path(folder) / str(place), note)
        if not found:
            raise UserError(f'none of the networks runs in {", ".join(runtimes)}; the notes above say why.')
        if protocol.image and all(contender.feed == 'random' for contender in found):
            raise UserError('--image is for exported detectors with decoded boxes and batch 1 (.onnx, .xml, .param); give one.')
        load = os.getloadavg()[0]
        keyed = {f'{place}': contender.steps for place, contender in enumerate(found)}
        times = timed_rounds(keyed | {PRODUCT: [_product()]}, protocol.warmup, protocol.runs, progress)
    rate = SIDE**3 / np.median(times.pop(PRODUCT)[:, 0, 0]) / 1e6  # 1e9 multiply-adds a second
    about = dict(load=f'{load:.1f}', machine=machine_name())
    return [row(contender, times[key], rate, protocol) | about for key, contender in zip(keyed, found)]


def _check(names: Sequence[str], runtimes: Sequence[str], protocol: Protocol, reference: tuple[str, str] | None) -> None:
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise UserError(f'unknown runtime {runtime!r}.{did_you_mean(runtime, RUNTIMES)} Known: {", ".join(RUNTIMES)}.')
    check_threads(protocol.threads)
    check_runs(protocol.runs, protocol.warmup)
    if not runtimes or not (names or reference):
        raise UserError('no network or no runtime is given; give at least one of each.')
    if protocol.batch < 1:
        raise UserError(f'batch={protocol.batch}: give at least one image.')
    if protocol.image is not None:
        read_image(protocol.image)
    elif reference:
        raise UserError('the time of a reference is that from an image file to boxes; give --image.')
    for runtime in set(runtimes) - set(IN_TORCH):
        check_runtime(runtime)
    if 'ncnn' in runtimes and protocol.batch != 1:
        raise UserError(f'ncnn takes one image at a time, not --batch {protocol.batch}; leave out ncnn, or give --batch 1.')


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set the threads of torch and OpenCV inside the context."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def _product() -> Step:
    left, right = torch.randn(2, SIDE, SIDE)
    result = torch.empty(SIDE, SIDE)
    return lambda _: torch.mm(left, right, out=result)


# Contenders -------------------------------------------------------------------------------------------------------------------


def _contenders(
    candidate: Candidate, runtimes: Sequence[str], protocol: Protocol, folder: Path, note: Note
) -> Iterator[Contender]:
    file = candidate.path
    if file is None and set(runtimes) - set(IN_TORCH):
        folder.mkdir()
        file = _exported(candidate, folder / 'network.onnx')
    for runtime in runtimes:
        if runtime in IN_TORCH:
            if candidate.graph is None:
                note(f'{candidate.name} is a file, so it has no row for {runtime}.')
            else:
                yield from _in_torch(candidate, runtime, note)
        elif file and file.suffix == SUFFIX.get(runtime):
            yield _of_file(candidate, file, runtime, protocol)
        elif file and candidate.path is None:
            try:
                yield _of_file(candidate, _converted(file, candidate.spec, runtime), runtime, protocol)
            except MissingPackageError:
                raise
            except Exception as error:  # of onnxruntime, OpenVINO or NNCF: the rows of the other networks are worth more
                note(f'{candidate.name} has no row for {runtime}: {one_line(error)}')
        else:
            kinds = (
                f'files ({SUFFIX[runtime]}) of `tinynet export`'
                if runtime in SUFFIX
                else 'a network and quantises it; give its config'
            )
            note(f'{candidate.name} has no row for {runtime}, which takes {kinds}.')


def _converted(file: Path, spec: Spec, runtime: str) -> Path:
    """The file of a runtime, made beside an ONNX file; in float32 its outputs are compared."""
    return convert(file, file.with_suffix(SUFFIX[runtime])) if runtime in SUFFIX else converted(file, spec, runtime)


def _exported(candidate: Candidate, path: Path) -> Path:
    model, spec = candidate.model, candidate.spec
    assert model is not None
    with torch.inference_mode(False):
        if spec.task == 'classification':
            return export_onnx(model, path, spec.height, spec.batch)
        fields: dict[str, Any] = dict(macs=spec.macs)
        export_model(model, [], path, Options('decoded', batch=spec.batch, size=(spec.height, spec.width)), **fields)
    return path


def _in_torch(candidate: Candidate, runtime: str, note: Note) -> Iterator[Contender]:
    graph = candidate.graph
    assert graph is not None
    images = random_images(candidate.spec, candidate.spec.batch)
    name = f'torch {torch.__version__} {runtime}'
    if runtime == 'eager':
        yield Contender(candidate.name, name, candidate.spec, [lambda _: graph(images)])
        return
    try:
        call = compiled(graph, images)
    except UserError as error:
        note(f'{candidate.name} has no row for compile: {error}')
        return
    yield Contender(candidate.name, name, candidate.spec, [lambda _: call(images)])


def _of_file(candidate: Candidate, path: Path, runtime: str, protocol: Protocol) -> Contender:
    spec, name = candidate.spec, runtime_name(runtime)
    if candidate.path and protocol.image and spec.task == 'detection' and spec.post != 'raw' and spec.batch == 1:
        steps = from_file_to_boxes(Detector(path, protocol.threads), protocol.image)
        return Contender(candidate.name, name, spec, steps, _described(protocol.image))
    network = open_network(path, protocol.threads)
    spec = replace(spec, precision=network.spec.precision)
    return Contender(candidate.name, name, spec, [network_step(network, random_images(spec, spec.batch).numpy())])


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


def _reference(config: str, checkpoint: str, protocol: Protocol) -> Contender:
    """A detector in mmdet's own inference, from file to boxes."""
    from mmdet import __version__
    from mmdet.apis import inference_detector

    cfg = load_config(config)
    model = with_loss(load_model(cfg, checkpoint))
    if not hasattr(model, 'bbox_head'):
        raise UserError(f'{config} is not a single-stage detector; the reference is a detector.')
    image = protocol.image
    assert image is not None
    inference_detector(model, str(image))
    spec = describe(model, test_pipeline(cfg), post='boxes')
    steps = [partial(_detect, inference_detector, model, str(image))]
    return Contender(config, f'mmdet {__version__} inference_detector', spec, steps, _described(image))


def _detect(api: Callable[[nn.Module, str], Any], model: nn.Module, image: str, _: Any) -> Any:
    return api(model, image)


def _described(image: Path) -> str:
    height, width = read_image(image).shape[:2]
    return f'{image.name} {width}x{height}'


# Rows -------------------------------------------------------------------------------------------------------------------------


def row(contender: Contender, times: np.ndarray, rate: float, protocol: Protocol) -> dict:
    """The row of a contender.

    Args:
        contender: what ran.
        times: milliseconds of its runs, (runs, steps, 2), see :func:`~tinynet_mm.deploy.latency.timed_rounds`.
        rate: of the matrix product in 1e9 multiply-adds a second.
        protocol: how it was timed.
    """
    spec, wall = contender.spec, times[:, :, 0]
    total, parts = wall.sum(axis=1), wall.mean(axis=0)
    roof = spec.batch * spec.macs / rate / 1e6
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
        | dict(macs=spec.macs or '', gemm_gmacs_per_s=f'{rate:.4g}', height=spec.height, width=spec.width, batch=spec.batch)
        | dict(threads=protocol.threads, input=contender.feed, runs=len(times), warmup=protocol.warmup)
    )

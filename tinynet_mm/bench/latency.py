"""The table of latency: networks in eager torch, torch.compile, ONNX Runtime, OpenVINO and ncnn, in float32 and in int8.

The protocol is that of the paper's table 4: one thread, batch 1, and the mean of the runs; the median, the 95th percentile and
the CPU time are given too. All contenders run in turns. In each round a product of two square float32 matrices runs as
well: its median rate gives the roof, the time that the multiply-adds of a network take at that rate.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn

from ..deploy.clock import IN_TORCH, Step, check_runtime
from ..deploy.describe import describe
from ..deploy.export import Options, convert, export_model, export_onnx, random_images
from ..deploy.latency import compiled, converted
from ..deploy.spec import Spec
from ..errors import MissingPackageError, UserError, one_line
from ..mmlab.checkpoints import load_model
from ..mmlab.configs import load_config, test_pipeline
from .exported import (
    SIDE,
    SUFFIX,
    Contender,
    Note,
    Progress,
    Protocol,
    check,
    described,
    file_contender,
    time_contenders,
)
from .networks import Candidate, find_network, with_loss


def compare(
    names: Sequence[str],
    runtimes: Sequence[str],
    protocol: Protocol | None = None,
    reference: tuple[str, str] | None = None,
    note: Note = lambda text: None,
    progress: Progress = iter,
) -> list[dict]:
    """Time networks in runtimes, in turns.

    Args:
        names: of :func:`~tinynet_mm.bench.networks.find_network`.
        runtimes: some of :data:`~tinynet_mm.deploy.clock.RUNTIMES`; int8 is calibrated on random images.
        protocol: how to time; by default as the paper's table 4.
        reference: config and checkpoint of a detector whose time from file to boxes in mmdet's ``inference_detector`` is a row.
        note: receives a line for each contender that is left out.
        progress: wraps the rounds.

    Returns:
        a row for each network and runtime, with its protocol.

    Raises:
        FileNotFoundError, UserError: an unknown network or runtime, a file or image that cannot be read, or a bad number.
        MissingPackageError: a package is not installed.
    """
    protocol = protocol or Protocol()
    _check(names, runtimes, protocol, reference)
    candidates = [find_network(name, protocol.batch) for name in dict.fromkeys(names)]
    with _threads(protocol.threads), tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        found = [] if reference is None else [_reference(*reference, protocol)]
        for place, candidate in enumerate(candidates):
            found += _contenders(candidate, runtimes, protocol, Path(folder) / str(place), note)
        return time_contenders(found, runtimes, protocol, progress, _product())


def _check(names: Sequence[str], runtimes: Sequence[str], protocol: Protocol, reference: tuple[str, str] | None) -> None:
    check(protocol, runtimes)
    if not (names or reference):
        raise UserError('no network is given; give at least one.')
    if reference and protocol.image is None:
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
            made = None if candidate.path else file
            yield file_contender(candidate.name, candidate.spec, runtime, protocol, made)
        elif file and candidate.path is None:
            try:
                made = _converted(file, candidate.spec, runtime)
                yield file_contender(candidate.name, candidate.spec, runtime, protocol, made)
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
    return Contender(config, f'mmdet {__version__} inference_detector', spec, steps, described(image))


def _detect(api: Callable[[nn.Module, str], Any], model: nn.Module, image: str, _: Any) -> Any:
    return api(model, image)

"""Export a classifier or detector as a verified file: ONNX, OpenVINO or ncnn in float, ONNX or OpenVINO in int8.

The file appears only after its outputs on random images equal those of the model. The boxes of a detector are also compared with
those of mmdet's own post-processing, so that an error of our decoding is found. The time of a tiny network in eager PyTorch is
mostly overhead, so latency is measured on such a file.
"""

import contextlib
import copy
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import atomic, check_writable
from .backends import PARTS, open_network
from .describe import describe
from .evaluation import Evaluation, calibration_batches
from .graphs import ClassifierGraph, DecodedDetectorGraph, Preprocess, RawDetectorGraph, Suppressed, head_outputs, raw_names
from .ncnnfile import run_apart, to_ncnn
from .onnxfile import BATCH, FOUND, finish, trace
from .packages import package
from .quantise import quantise, read_openvino, save_openvino
from .spec import INPUT, Spec

TOLERANCE = 1e-4  # of the largest value; float32 sums in another order differ by about 1e-6 in a trained network
PIXELS = 0.01  # for boxes
EPSILON = np.float32(2**-22)  # relative change of an input that shows how a network amplifies rounding errors
SLACK = 20  # times the model's own rounding error, which random weights raise to 1e-3 and more
UNMATCHED = 0.01  # share of boxes whose suppression may differ, because of IoUs next to the threshold
FINAL = 100  # boxes of mmdet's post-processing that are compared
DECODED = ('boxes', 'scores')
POINTS = 0.1  # by which the accuracy of a float file may differ from that of the model


@dataclass(frozen=True)
class Options:
    """What to export.

    Attributes:
        post: ``raw``, ``decoded`` or ``nms`` for a detector, see :class:`~tinynet_mm.deploy.spec.Spec`; None for the default.
        preprocess: whether the file takes uint8 images in RGB and normalises them.
        batch: images in a batch, 0 for any number.
        size: (height, width) of the input in pixels; None for that of the pipeline.
        int8: whether to quantise.
        max_drop: largest loss of accuracy by int8, in points.
    """

    post: str | None = None
    preprocess: bool = False
    batch: int = 1
    size: tuple[int, int] | None = None
    int8: bool = False
    max_drop: float = 1.0


def export(
    model: nn.Module,
    pipeline: Sequence[Mapping],
    out: str | Path,
    options: Options,
    evaluation: Evaluation | None = None,
    **fields: Any,
) -> Iterator[str]:
    """Write a model to ``out`` (.onnx, .xml or .param) after all checks; yields a line for each step.

    Args:
        model: of mmdet or mmpretrain, with its data preprocessor and ``dataset_meta``.
        pipeline: the steps of its test pipeline.
        out: the file; its suffix selects ONNX, OpenVINO or ncnn.
        options: what to export.
        evaluation: measures the accuracy; required for int8.
        fields: other fields of the description: macs, params, config, checkpoint, version.

    Raises:
        UserError: a model that cannot be exported, a file that differs from the model, or too large a loss by int8; an existing
            file is not changed.
        MissingPackageError: a package is not installed.
    """
    out = Path(out)
    check_target(out, options)
    if options.int8 and evaluation is None:
        raise UserError('int8 needs a data set for calibration and accuracy; give --data-root.')
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / 'model.onnx'
        spec = export_model(model, pipeline, file, options, **fields)
        yield f'{spec.task}, {spec.post}, {spec.macs / 1e6:.1f} M multiply-adds: outputs equal those of the model'
        if not options.int8:
            file = convert(file, file.with_suffix(out.suffix))
        if evaluation and spec.post != 'raw':
            yield from check_accuracy(file, evaluation, (1, 4))
        elif evaluation:
            yield 'the accuracy of the file is not measured, because raw outputs are not decoded'
        if options.int8 and evaluation:
            batches = calibration_batches(evaluation.calibration(), spec)
            target = Path(folder) / f'int8{out.suffix}'
            yield from quantise(
                file, target, batches, lambda path: evaluation.of_file(path, 1), evaluation.metric, options.max_drop
            )
            file = target
        size = _move(file, out)
    yield f'written: {out} ({size} bytes)'


def check_target(out: Path, options: Options) -> None:
    """Check that a file with these options can be written to ``out``.

    Raises:
        UserError: a path that cannot be written, a file whose parts would replace other files, or options that the format does
            not have.
    """
    if out.suffix not in PARTS:
        raise UserError(f'{out}: the suffix selects the format: {", ".join(PARTS)}.')
    check_writable(out)
    if options.int8 and options.post in ('raw', 'nms'):
        raise UserError(f'--int8 measures boxes and scores; export with --post decoded instead of {options.post}.')
    for part in map(out.with_suffix, PARTS[out.suffix]):
        if part.exists() and not out.exists():
            raise UserError(f'{part} exists and does not belong to {out.name}, which is not there; choose another name.')
    other = {'.xml': '.param', '.param': '.xml'}.get(out.suffix)
    if other and out.with_suffix(other).exists():
        raise UserError(f'{out.with_suffix(".bin")} belongs to {out.with_suffix(other)}; choose another name than {out.name}.')
    if out.suffix != '.param':
        return
    wrong = {
        '--int8': options.int8,
        '--preprocess': options.preprocess,
        '--post nms': options.post == 'nms',
        f'--batch {options.batch}': options.batch != 1,
    }
    if given := [name for name, used in wrong.items() if used]:
        raise UserError(
            f'{out}: ncnn has no {" and no ".join(given)} here: it takes one normalised float image and suppresses no boxes; '
            'leave the option out, or export .onnx or .xml.'
        )


def _move(source: Path, target: Path) -> int:
    """Copy a file and its parts to ``target``, and replace older ones when all are copied; returns the number of bytes."""
    suffixes = (target.suffix, *PARTS[target.suffix])  # the contexts end in reverse order, so the file appears after its parts
    with contextlib.ExitStack() as stack:
        for suffix in suffixes:
            shutil.copyfile(source.with_suffix(suffix), stack.enter_context(atomic(target.with_suffix(suffix))))
    return sum(target.with_suffix(suffix).stat().st_size for suffix in suffixes)


LOW = 0.05  # an accuracy at which the order of equal scores matters


def check_accuracy(path: Path, evaluation: Evaluation, batches: Sequence[int]) -> Iterator[str]:
    """Compare the accuracy of a file with that of the model, for some numbers of images in a call; yields a line.

    Raises:
        UserError: they differ by more than 0.1 points.
    """
    expected = evaluation.of_model()
    found = [evaluation.of_file(path, batch) for batch in batches]
    values = ', '.join(f'{100 * value:.2f} (batch {batch})' for value, batch in zip(found, batches))
    if max(abs(value - expected) for value in found) > POINTS / 100:
        low = 'A model that is hardly trained has equal scores, whose order differs: train it, or leave out --data-root. '
        raise UserError(
            f'{evaluation.metric} of the file is {values}, but {100 * expected:.2f} of the model; no file was written. '
            f'{low if expected < LOW else ""}'.strip()
        )
    yield f'{evaluation.metric} of the model {100 * expected:.2f}, of the file {values}'


def convert(source: Path, target: Path) -> Path:
    """Convert an ONNX file to OpenVINO (.xml) or ncnn (.param), in float32, and compare their outputs.

    Args:
        source: a file of :func:`export_model`.
        target: the file to write; with ``.onnx`` nothing is done.

    Returns:
        ``target``.

    Raises:
        UserError: an operator that the target does not have, or outputs that differ.
        MissingPackageError: a package of the target is not installed.
    """
    if target.suffix == '.onnx':
        return source
    network = open_network(source)
    images = random_images(network.spec, network.spec.batch or 2).numpy()
    if target.suffix == '.param':
        found: Mapping[str, np.ndarray] = run_apart(to_ncnn(source, target, network.spec), images)
    else:
        found = open_network(save_openvino(read_openvino(source), network.spec, target)).run(images)
    expected = network.run(images)
    rounded = expected if network.spec.post == 'nms' or network.spec.preprocess else network.run(images * (1 + EPSILON))
    compare_outputs(found, rounded, network.spec, expected)
    return target


def compare_outputs(
    found: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    spec: Spec,
    exact: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Compare the outputs of a file with those that are expected.

    Args:
        found: outputs of the file by name.
        expected: outputs of the model in float32.
        spec: of the file.
        exact: outputs without rounding errors; the file may differ by a multiple of the difference to ``expected``.

    Raises:
        UserError: an output differs by more than the tolerance.
    """
    if spec.post == 'nms':
        return _compare_suppressed(found, expected)
    for name, value in (exact or expected).items():
        in_pixels = name == 'boxes'
        scale = 1.0 if in_pixels else max(float(np.abs(value).max()), 1e-12)
        error, rounding = (float(np.abs(outputs[name] - value).max()) / scale for outputs in (found, expected))
        if not error <= (PIXELS if in_pixels else TOLERANCE) + SLACK * rounding:
            unit = 'pixels' if in_pixels else 'of its largest value'
            raise UserError(f'output {name} of the file differs from the model by {error:.2g} {unit}; no file was written.')
    return None


def export_model(model: nn.Module, pipeline: Sequence[Mapping], path: Path, options: Options, **fields: Any) -> Spec:
    """Write a model of MMLab as a verified float ONNX file; returns its description. Arguments and errors as :func:`export`."""
    settings = dict(batch=options.batch, preprocess=options.preprocess, post='logits') | fields
    spec = describe(model, pipeline, options.size, **settings)
    if spec.task == 'detection':
        spec = replace(spec, post=options.post or 'decoded')
    elif options.post is not None:
        raise UserError(f'--post {options.post} is for detectors; a classifier returns its logits.')
    return write_onnx(model, spec, path)


def export_onnx(model: nn.Module, path: str | Path, resolution: int, batch: int = 1) -> Path:
    """Write a module that maps images (batch, 3, resolution, resolution) to logits as a verified ONNX file; returns the path.

    Args:
        model: for instance :class:`tinynet_mm.models.Classifier`. The input of the file is normalised images.
        path: the file to write.
        resolution: height and width of the images in pixels.
        batch: batch size, fixed in the file because runtimes plan memory for it.

    Raises:
        UserError: the outputs of the file and of the model differ, or the model does not return one tensor.
        MissingPackageError: onnx or onnxruntime is not installed.
    """
    write_onnx(model, Spec('classification', 'logits', (), resolution, resolution, batch=batch), Path(path))
    return Path(path)


def write_onnx(model: nn.Module, spec: Spec, path: Path) -> Spec:
    """Write the ONNX file that a description states, and verify it; returns the description with the boxes of each level."""
    for name in ('onnx', 'onnxslim', 'onnxruntime'):
        package(name)
    device, training = next(model.parameters()).device, model.training
    model.eval().cpu()
    try:
        graph, names, spec = make_graph(model, spec)
        if spec.task == 'detection' and spec.post != 'raw':
            compare_with_mmdet(model, spec)
        images = random_images(spec, max(1, spec.batch))
        free = {} if spec.batch else dict.fromkeys((INPUT, *names), BATCH)
        dynamic = free | dict.fromkeys(names, FOUND) if spec.post == 'nms' else free
        with tempfile.TemporaryDirectory() as folder, atomic(path) as temporary:
            trace(graph, images, temporary, names, dynamic)
            finish(temporary, spec)
            reference = graph
            if isinstance(graph, Suppressed):
                decoded = Path(folder) / 'decoded.onnx'
                trace(graph.graph, images, decoded, DECODED, dict.fromkeys((INPUT, *DECODED), BATCH) if free else {})
                finish(decoded, replace(spec, post='decoded'))
                _verify_batches(decoded, graph.graph, replace(spec, post='decoded'))
                reference = graph.on(FromFile(decoded))
            _verify_batches(temporary, reference, spec)
    finally:
        model.train(training).to(device)
    return spec


def _verify_batches(path: Path, graph: nn.Module, spec: Spec) -> None:
    for count in (spec.batch,) if spec.batch else (1, 4):
        verify(path, graph, random_images(spec, count, seed=count), spec)


class FromFile(nn.Module):
    """The outputs of an ONNX file as tensors.

    Suppression of nearly equal scores depends on their rounding, so the boxes of a file with suppression are compared with those
    that suppression in torch leaves of the same decoded boxes.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.network = open_network(path)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the file."""
        return tuple(torch.from_numpy(np.array(value)) for value in self.network.run(images.numpy()).values())


def make_graph(model: nn.Module, spec: Spec) -> tuple[nn.Module, list[str], Spec]:
    """The module to trace, the names of its outputs, and the description with the numbers of boxes of each level."""
    graph: nn.Module
    if spec.task == 'classification':
        graph, names = ClassifierGraph(model), ['logits']
    elif spec.post == 'raw':
        graph = RawDetectorGraph(model)
        with torch.no_grad():
            names = raw_names(head_outputs(model, torch.zeros(1, 3, spec.height, spec.width)))
    else:
        decoded = DecodedDetectorGraph(model, spec.height, spec.width)
        graph, names, spec = decoded, [*DECODED], replace(spec, levels=decoded.level_sizes)
    if spec.preprocess:
        graph = Preprocess(graph, spec.mean, spec.std, spec.channels)
    if spec.post == 'nms':
        limit = spec.max_per_image or 1000
        graph = Suppressed(graph, spec.score_thr, spec.iou_thr, limit, spec.multi_label, spec.batch == 1)
        names = ['boxes', 'scores', 'labels', 'image_ids']
    return graph.eval(), names, spec


def random_images(spec: Spec, count: int, seed: int = 0) -> Tensor:
    """A batch of random images as the file takes them."""
    generator = torch.Generator().manual_seed(seed)
    if spec.preprocess:
        return torch.randint(0, 256, (count, spec.height, spec.width, 3), generator=generator, dtype=torch.uint8)
    return torch.randn(count, 3, spec.height, spec.width, generator=generator)


def verify(path: Path, graph: nn.Module, images: Tensor, spec: Spec) -> None:
    """Compare the outputs of a file with those of the traced module.

    Raises:
        UserError: they differ by more than the tolerance.
    """
    found = open_network(path).run(images.numpy())
    with torch.no_grad():
        expected = as_dict(graph(images), list(found))
        exact = None
        if spec.post != 'nms':
            double = copy.deepcopy(graph).double()
            exact = as_dict(double(images if spec.preprocess else images.double()), list(found))
    compare_outputs(found, expected, spec, exact)


def as_dict(outputs: Tensor | Sequence[Tensor], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs of a module by name."""
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}


def _compare_suppressed(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    missing = sum(
        not _has_box(found, *row) for row in zip(*(expected[name] for name in ('boxes', 'scores', 'labels', 'image_ids')))
    )
    most = max(1, len(expected['scores']))
    if missing / most > UNMATCHED or abs(len(found['scores']) - len(expected['scores'])) / most > UNMATCHED:
        raise UserError(
            f'{missing} of {most} boxes after suppression are not in the output of the file, which has '
            f'{len(found["scores"])}; no file was written.'
        )


def _has_box(found: Mapping[str, np.ndarray], box: np.ndarray, score: float, label: int, image: int) -> bool:
    same = (found['labels'] == label) & (found['image_ids'] == image) & (np.abs(found['scores'] - score) < 1e-3)
    return bool((np.abs(found['boxes'][same] - box).max(axis=1, initial=0) < 0.1).any())


@torch.no_grad()
def compare_with_mmdet(model: nn.Module, spec: Spec) -> None:
    """Compare decoded boxes and scores with those of mmdet's own post-processing on a random image.

    Raises:
        UserError: a final box of mmdet has no equal among the decoded ones.
    """
    head: Any = model.bbox_head
    images = random_images(replace(spec, preprocess=False), 1)
    settings = copy.deepcopy(head.test_cfg)
    settings.update(score_thr=0.0, nms_pre=1000, min_bbox_size=-1)
    outs = head_outputs(model, images)
    meta = dict(img_shape=(spec.height, spec.width), scale_factor=(1.0, 1.0))
    (final,) = head.predict_by_feat(*outs, batch_img_metas=[meta], cfg=settings, rescale=False)
    boxes, scores = DecodedDetectorGraph(model, spec.height, spec.width)(images)
    for box, score, label in list(zip(final.bboxes, final.scores, final.labels))[:FINAL]:
        near = (scores[0, :, label] - score).abs() < TOLERANCE
        if not bool(((boxes[0, near] - box).abs().amax(1) < PIXELS + 1e-5 * spec.width).any()):
            raise UserError(
                f'the decoded boxes of {type(head).__name__} do not contain the box {box.tolist()} of mmdet; '
                'no file was written. Please report this with the config.'
            )

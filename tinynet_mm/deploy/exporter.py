"""Export a trained classifier or detector as one verified ONNX file.

The file appears only after its outputs on random images equal those of the model; the boxes of a detector are also compared with
those of mmdet's own post-processing, so that an error of our decoding is found.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import atomic
from .backends import open_network
from .describe import describe
from .graphs import ClassifierGraph, DecodedDetectorGraph, Preprocess, RawDetectorGraph, Suppressed, head_outputs, raw_names
from .onnxfile import finish, trace
from .packages import package
from .spec import INPUT, Spec

TOLERANCE = 1e-4  # of the largest value; float32 sums in another order differ by about 1e-6 in a trained network
PIXELS = 0.01  # for boxes
SLACK = 20  # times the model's own rounding error, which random weights raise to 1e-3 and more
UNMATCHED = 0.01  # share of boxes whose suppression may differ, because of IoUs next to the threshold
FINAL = 100  # boxes of mmdet's post-processing that are compared


def export(
    model: nn.Module,
    pipeline: Sequence[Mapping],
    path: str | Path,
    post: str | None = None,
    preprocess: bool = False,
    batch: int = 1,
    size: tuple[int, int] | None = None,
    **fields: Any,
) -> Spec:
    """Write a model as ONNX, verify the file, and return its description.

    Args:
        model: of mmdet or mmpretrain, with its data preprocessor and ``dataset_meta``.
        pipeline: the steps of the test pipeline.
        path: the file.
        post: ``raw``, ``decoded`` (default) or ``nms`` for a detector, see :class:`~tinynet_mm.deploy.spec.Spec`.
        preprocess: whether the file takes uint8 images in RGB and normalises them.
        batch: images in a batch, 0 for any number.
        size: (height, width) of the input in pixels; by default that of the pipeline.
        fields: other fields of the description: macs, params, config, checkpoint, version.

    Raises:
        UserError: a model or pipeline that cannot be exported, or a file that differs from the model; no file is written.
    """
    for name in ('onnx', 'onnxslim', 'onnxruntime'):
        package(name)
    spec = describe(model, pipeline, size, batch=batch, preprocess=preprocess, post='logits', **fields)
    if spec.task == 'detection':
        spec = replace(spec, post=post or 'decoded')
    elif post is not None:
        raise UserError(f'--post {post} is for detectors; a classifier returns its logits.')
    device, training = next(model.parameters()).device, model.training
    model.eval().cpu()
    try:
        graph, names, spec = make_graph(model, spec)
        if spec.task == 'detection' and spec.post != 'raw':
            compare_with_mmdet(model, spec)
        images = random_images(spec, max(1, batch))
        dynamic = (*(() if batch else (INPUT,)), *(names if not batch or spec.post == 'nms' else ()))
        with atomic(path) as temporary:
            trace(graph, images, temporary, names, dynamic)
            finish(temporary, spec)
            for count in (batch,) if batch else (1, 4):
                verify(temporary, graph, random_images(spec, count, seed=count), spec)
    finally:
        model.train(training).to(device)
    return spec


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
        graph, names, spec = decoded, ['boxes', 'scores'], replace(spec, levels=decoded.level_sizes)
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
    names = list(found)
    with torch.no_grad():
        expected = as_dict(graph(images), names)
        if spec.post == 'nms':
            return _verify_suppressed(found, expected)
        exact = as_dict(copy.deepcopy(graph).double()(images if spec.preprocess else images.double()), names)
    for name in names:
        scale = 1.0 if name == 'boxes' else max(float(np.abs(exact[name]).max()), 1e-12)
        limit = PIXELS if name == 'boxes' else TOLERANCE
        error, rounding = (float(np.abs(a[name] - exact[name]).max()) / scale for a in (found, expected))
        if not error <= limit + SLACK * rounding:
            unit = 'pixels' if name == 'boxes' else 'of its largest value'
            raise UserError(f'output {name} of the file differs from the model by {error:.2g} {unit}; no file was written.')
    return None


def as_dict(outputs: Tensor | Sequence[Tensor], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The outputs of a module by name."""
    outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
    return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}


def _verify_suppressed(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
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

"""Exported detectors for the tests of the runtime: small networks with spread scores, and how results are compared."""

import functools
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from cam_models import build, retinanet, rtmdet, ssdlite, yolox
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from torchvision.ops import box_iou

from tinynet_mm.deploy.export import Options, export_model
from tinynet_mm.deploy.runtime import Detections

SIDE = 128
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
PACK = dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))
STRETCH = [dict(type='LoadImageFromFile'), dict(type='mmdet.Resize', scale=(SIDE, SIDE), keep_ratio=False), PACK]
LETTERBOX = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=(SIDE, SIDE), keep_ratio=True),
    dict(type='mmdet.Pad', size=(SIDE, SIDE), pad_val=dict(img=(114, 114, 114))),
    PACK,
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blurred noise and shapes, so that scores vary over the image."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    for _ in range(6):
        corner, colour = rng.integers(0, (width, height)).tolist(), rng.integers(0, 256, 3).tolist()
        cv2.rectangle(image, corner, (corner[0] + width // 5, corner[1] + height // 4), colour, -1)
    return image


IMAGES = [picture(100, 150, 1), picture(170, 90, 2), picture(128, 128, 3)]


def as_input(preprocessor) -> torch.Tensor:
    """IMAGES as a batch, with a border as a letterbox has."""
    batch = np.full((len(IMAGES), SIDE, SIDE, 3), 114, np.uint8)
    for target, image in zip(batch, IMAGES):
        factor = SIDE / max(image.shape)
        small = cv2.resize(image, None, fx=factor, fy=factor)
        target[: len(small), : small.shape[1]] = small
    images = torch.from_numpy(batch.transpose(0, 3, 1, 2)).float()
    return (images - preprocessor.mean) / preprocessor.std if hasattr(preprocessor, 'mean') else images


@torch.no_grad()
def settled(model, layers):
    """Random weights with spread outputs: batch norms have the statistics of the images, last layers a given spread.

    Args:
        model: a detector or classifier.
        layers: pairs of a last layer and (mean, standard deviation) that its output gets.
    """
    model = revert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    head = getattr(model, 'bbox_head', None) or model.head
    images = as_input(model.data_preprocessor)
    head(model.train().extract_feat(images))
    outputs = {layer: [] for layer, _ in layers}
    hooks = [layer.register_forward_hook(lambda m, i, out: outputs[m].append(out)) for layer in outputs]
    head(model.eval().extract_feat(images))
    for layer, (mean, std) in layers:
        layer.weight.mul_(std / torch.cat([out.flatten() for out in outputs[layer]]).std())
        layer.bias.copy_(torch.linspace(mean - std / 2, mean + std / 2, len(layer.bias)))
    for hook in hooks:
        hook.remove()
    return model


def with_pipeline(model, pipeline, preprocessor):
    """A detector that mmdet's inference_detector takes."""
    from mmdet.registry import MODELS

    model.data_preprocessor = MODELS.build(dict(type='mmdet.DetDataPreprocessor') | preprocessor)
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    model.dataset_meta = dict(classes=tuple(f'thing {i}' for i in range(model.bbox_head.num_classes - 1)))  # one without a name
    return model.eval()


def last_convs(head, name: str) -> list:
    """The last convolutions of the towers in an attribute of a head."""
    towers = getattr(head, name)
    towers = [towers] if isinstance(towers, torch.nn.Conv2d) else towers
    return [[m for m in tower.modules() if isinstance(m, torch.nn.Conv2d)][-1] for tower in towers]


def detector(model, pipeline, preprocessor, scores, boxes, more=()):
    """A detector with spread scores and boxes; ``scores``, ``boxes`` and ``more`` are attributes of its head."""
    targets = [(scores, (-3, 0.3)), (boxes[0], boxes[1]), *((name, (0, 0.3)) for name in more)]
    layers = [(conv, target) for name, target in targets for conv in last_convs(model.bbox_head, name)]
    return settled(with_pipeline(model, pipeline, preprocessor), layers)


def limited(model, nms_pre: int):
    """A detector with another limit of boxes of a level before suppression; the standard operator has no limit."""
    model.bbox_head.test_cfg.nms_pre = nms_pre
    return model


KEEP_RATIO = [dict(type='LoadImageFromFile'), dict(type='mmdet.Resize', scale=(SIDE, SIDE), keep_ratio=True), PACK]
PLAIN = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395])  # BGR
MODELS = {
    'ssdlite': lambda: detector(limited(ssdlite(), 12), STRETCH, NORM, 'cls_convs', ('reg_convs', (0, 1))),
    'retinanet': lambda: detector(limited(retinanet(), 100_000), STRETCH, NORM, 'retina_cls', ('retina_reg', (0, 0.1))),
    # without Pad, boxes are clipped to the image; mmdet fills batches to a multiple of pad_size_divisor
    'clipped': lambda: detector(
        limited(retinanet(), 100_000), KEEP_RATIO, NORM | dict(pad_size_divisor=SIDE), 'retina_cls', ('retina_reg', (0, 0.1))
    ),
    'rtmdet': lambda: detector(rtmdet(), LETTERBOX, PLAIN, 'rtm_cls', ('rtm_reg', (2, 0.5))),
    'yolox': lambda: detector(
        yolox(), LETTERBOX, {}, 'multi_level_conv_cls', ('multi_level_conv_reg', (1, 0.02)), ['multi_level_conv_obj']
    ),
}


FOLDER = tempfile.TemporaryDirectory(prefix='exported')  # removed at the end of the process


@functools.cache
def detector_of(name: str):
    """One of MODELS, built once."""
    return MODELS[name]()


@functools.cache
def exported(name: str, **settings) -> Path:
    """The file of one of MODELS, exported once."""
    model, path = detector_of(name), Path(FOLDER.name) / f'{name}{len(list(Path(FOLDER.name).iterdir()))}.onnx'
    export_model(model, model.cfg.test_dataloader.dataset.pipeline, path, Options(**settings))
    return path


def mmdet_result(model, image) -> Detections:
    from mmdet.apis import inference_detector

    found = inference_detector(model, [image])[0].pred_instances
    return Detections(found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy())


def assert_same(found: Detections, expected: Detections) -> None:
    """Boxes flatter than a pixel are not compared: rounding of the network changes their IoU."""
    assert len(found) == len(expected)
    found, expected = (
        Detections(d.boxes[solid], d.scores[solid], d.labels[solid])
        for d in (found, expected)
        for solid in [(d.boxes[:, 2:] - d.boxes[:, :2]).min(axis=1) > 1]
    )
    assert len(found) > 10
    iou = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(expected.boxes)).numpy()
    near = np.abs(found.scores[:, None] - expected.scores[None]) < 1e-3
    same = (iou > 0.99) & near & (found.labels[:, None] == expected.labels[None])
    assert same.any(axis=0).all() and same.any(axis=1).all()


def image_classifier():
    preprocessor = dict(type='ClsDataPreprocessor', mean=NORM['mean'], std=NORM['std'], to_rgb=True, num_classes=10)
    return build(
        dict(
            type='ImageClassifier',
            data_preprocessor=preprocessor,
            backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
        ),
        'mmpretrain',
    )


CROP = [
    dict(type='ResizeEdge', scale=53, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=48),
]

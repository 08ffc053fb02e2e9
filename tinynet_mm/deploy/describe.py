"""The description of an exported file, read from a built model and its config.

Only the test pipeline, the data preprocessor and the head's test settings are read, so it works with configs of mmdet and
mmpretrain too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import UserError
from ..files import check_names
from .graphs import check_head, clips
from .spec import Spec

NMS = ('type', 'iou_threshold', 'split_thr')  # split_thr only changes how mmcv computes the same result
STRIDE = 32  # sides of a letterbox are multiples of the largest stride


def describe(model: nn.Module, pipeline: Sequence[Mapping], size: tuple[int, int] | None = None, **fields: Any) -> Spec:
    """The description of a classifier or detector.

    Args:
        model: built by MMLab, with a data preprocessor and ``dataset_meta``.
        pipeline: the steps of its test pipeline.
        size: (height, width) of the input in pixels; by default that of the pipeline.
        fields: other fields of :class:`Spec`: post, batch, preprocess, macs, ...

    Raises:
        UserError: a pipeline without a size or with a step that a file cannot describe, a head that is not supported, or names of
            classes that a file cannot have.
    """
    names = [str(name) for name in getattr(model, 'dataset_meta', {}).get('classes', ())]
    classes = check_names(names, 'the dataset_meta of the model')
    if hasattr(model, 'bbox_head') or hasattr(model, 'roi_head'):
        check_head(model)
    task = 'detection' if hasattr(model, 'bbox_head') else 'classification'
    mean, std, channels = normalisation(model.data_preprocessor)
    known: dict[str, Any] = resizing(pipeline, mean, channels, size) | dict(mean=mean, std=std, channels=channels)
    if task == 'detection':
        known |= thresholds(model.bbox_head)
        known['clip'] = known.get('clip', False) and clips(model.bbox_head)
    return Spec(**known | dict(task=task, classes=classes) | fields)


def normalisation(preprocessor: Any) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Mean and standard deviation of each channel, and the order ``RGB`` or ``BGR`` that the network receives."""
    reverse = bool(getattr(preprocessor, '_channel_conversion', False) or getattr(preprocessor, 'to_rgb', False))
    channels = 'RGB' if reverse or getattr(preprocessor, 'channels', '') == 'RGB' else 'BGR'
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    if mean is None or std is None:
        return (0.0,) * 3, (1.0,) * 3, channels
    return tuple(map(float, mean.flatten())), tuple(map(float, std.flatten())), channels


def resizing(
    pipeline: Sequence[Mapping], mean: Sequence[float], channels: str, size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """The fields of :class:`Spec` on the size of the input and on how an image is brought to it."""
    found: dict[str, Any] = dict(resize='stretch', backend='cv2', interpolation='bilinear')
    for step in pipeline:
        kind = str(step['type']).split('.')[-1]
        if kind in ('Resize', 'FixScaleResize'):
            found |= _resize(step)
        elif kind == 'ResizeEdge':
            found |= dict(resize='crop', edge=int(step['scale'])) | _library(step)
        elif kind == 'CenterCrop':
            found |= _square(step['crop_size'])
        elif kind == 'Pad':
            found |= _pad(step)
        elif not kind.startswith(('Load', 'Pack')):
            raise UserError(
                f'the test pipeline has the step {kind}, which an exported file cannot describe; remove it from the config.'
            )
    if size is not None:
        found |= dict(height=size[0], width=size[1], scale=size)
    if 'height' not in found:
        raise UserError('the test pipeline sets no input size; give --input-size.')
    scale = found.pop('scale', None)
    return found | (_letterbox(found, scale, mean if channels == 'RGB' else mean[::-1]) if found['resize'] == 'letterbox' else {})


def _letterbox(found: Mapping[str, Any], scale: tuple[int, int], mean: Sequence[float]) -> dict[str, Any]:
    if scale[0] != scale[1]:
        raise UserError(
            f'the test pipeline turns its scale {scale} with the image, but a file has one input size; give --input-size.'
        )
    sides = {side: -(-found[side] // STRIDE) * STRIDE for side in ('height', 'width')}
    return sides | dict(edge=scale[0], pad=found.get('pad', tuple(mean)), clip='pad' not in found)


def _resize(step: Mapping) -> dict[str, Any]:
    width, height = (step['scale'],) * 2 if isinstance(step['scale'], int) else step['scale']
    letterbox = bool(step.get('keep_ratio', False))
    sides: dict[str, Any] = dict(height=int(height), width=int(width), scale=(int(width), int(height)))
    return sides | dict(resize='letterbox' if letterbox else 'stretch') | _library(step)


def _library(step: Mapping) -> dict[str, str]:
    return dict(backend=step.get('backend', 'cv2'), interpolation=step.get('interpolation', 'bilinear'))


def _square(size: Any) -> dict[str, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return dict(height=int(height), width=int(width))


def _pad(step: Mapping) -> dict[str, Any]:
    value = step.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, Mapping) else value
    filling = (value,) * 3 if isinstance(value, int | float) else tuple(value)[::-1]  # pipelines hold BGR images
    sides = dict(height=int(step['size'][1]), width=int(step['size'][0])) if step.get('size') else {}
    return dict(pad=tuple(map(float, filling))) | sides


def thresholds(head: Any) -> dict[str, Any]:
    """The fields of :class:`Spec` on thresholds, from the head's test settings."""
    settings = head.test_cfg or {}
    suppression = settings.get('nms') or {}
    if suppression.get('type', 'nms') != 'nms':
        raise UserError(f'the head suppresses boxes with {suppression["type"]}, which is not supported; use nms.')
    if unknown := [key for key, value in suppression.items() if key not in NMS and value]:
        raise UserError(
            f'the suppression of the head has {unknown[0]}={suppression[unknown[0]]}, which a file cannot have; remove it.'
        )
    if (least := settings.get('min_bbox_size', 0)) > 0:
        raise UserError(f'the head removes boxes below min_bbox_size={least}, which a file cannot do; set it to 0.')
    return dict(
        score_thr=float(settings.get('score_thr', 0.0)),
        iou_thr=float(suppression.get('iou_threshold', 1.0)),
        nms_pre=max(0, int(settings.get('nms_pre', 0))),
        max_per_image=max(0, int(settings.get('max_per_img', 0))),
        multi_label=not hasattr(head, '_bbox_decode'),  # YOLOX gives each box its best class only
    )

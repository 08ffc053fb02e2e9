"""Detect objects with a built detector: plain rows and pictures from mmdet's ``inference_detector``."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure
from torch import nn

from ..data.coco import Split, read_coco
from ..data.images import read_image
from ..plots import Boxes, detection_sheet


def detect(model: nn.Module, images: Sequence[np.ndarray], score_thr: float = 0.0) -> list[Boxes]:
    """Return the boxes with at least ``score_thr`` in each (H, W, 3) BGR image, in pixels, by descending score."""
    from mmdet.apis import inference_detector

    found = []
    for sample in inference_detector(model, list(images)):
        instances = sample.pred_instances.cpu()
        instances = instances[instances.scores >= score_thr]
        found.append(Boxes(instances.bboxes.numpy(), instances.labels.numpy(), instances.scores.numpy()))
    return found


def classify(model: nn.Module, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the class probabilities (B, K) of (H, W, 3) BGR images, through mmpretrain's inferencer."""
    from mmpretrain.apis import ImageClassificationInferencer

    inferencer = ImageClassificationInferencer(model, device=str(next(model.parameters()).device))
    return np.stack([row['pred_scores'] for row in inferencer(list(images), batch_size=len(images))])


def classes_of(model: nn.Module) -> list[str]:
    """Return the class names of a model from :func:`~tinynet_mm.mmlab.checkpoints.load_model`."""
    return list(cast(dict[str, Any], model.dataset_meta)['classes'])


def class_name(label: int, classes: Sequence[str]) -> str:
    """Return the name of a class, or ``class 7`` if the model has no name for it."""
    return classes[label] if label < len(classes) else f'class {label}'


def scores_of(found: Boxes) -> np.ndarray:
    """Return the scores of detections, (N,).

    Raises:
        ValueError: boxes without scores, as those of a ground truth.
    """
    if found.scores is None:
        raise ValueError('boxes of a ground truth have no scores.')
    return found.scores


def split_sheet(model: nn.Module, split: Split, count: int = 8, score_thr: float = 0.3) -> Figure:
    """Draw the ground truth next to the predictions for ``count`` images spread evenly over a split."""
    content, names = read_coco(split.ann_file), list(split.classes or classes_of(model))
    labels = {category['id']: names.index(category['name']) for category in content['categories'] if category['name'] in names}
    chosen = content['images'][:: max(1, len(content['images']) // count)][:count]
    images, truth = [], []
    for image in chosen:
        boxes = [a for a in content['annotations'] if a['image_id'] == image['id'] and a['category_id'] in labels]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a['bbox'] for a in boxes)]
        truth.append(Boxes(np.array(corners), np.array([labels[a['category_id']] for a in boxes])))
        images.append(read_image(split.images / image['file_name']))
    return detection_sheet([i[:, :, ::-1] for i in images], truth, detect(model, images, score_thr), names)

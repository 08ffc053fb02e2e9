"""Run a built model on images: boxes of a detector, probabilities of a classifier, and a sheet of detections."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from torch import nn

from ..data.coco import Split, read_coco
from ..data.images import read_image
from ..plots import Boxes, detection_sheet
from .configs import test_pipeline


def detect(model: nn.Module, images: Sequence[np.ndarray], score_thr: float = 0.0) -> list[Boxes]:
    """Return the boxes with at least ``score_thr`` in each (H, W, 3) BGR image, in pixels, by descending score.

    Raises:
        UserError: the config of the model has no test pipeline.
    """
    from mmdet.apis import inference_detector

    test_pipeline(cast(Config, model.cfg))
    found = []
    for sample in inference_detector(model, list(images)):
        instances = sample.pred_instances.cpu()
        instances = instances[instances.scores >= score_thr]
        found.append(Boxes(instances.bboxes.numpy(), instances.labels.numpy(), instances.scores.numpy()))
    return found


def classify(model: nn.Module, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the class probabilities (B, K) of (H, W, 3) BGR images, through the test pipeline of the model's config.

    mmpretrain's inferencer does not take models from :func:`~tinynet_mm.mmlab.checkpoints.load_model` or transforms with the name
    of their package, and prints a progress bar in each call.
    """
    from mmpretrain.registry import TRANSFORMS

    cfg = cast(Config, model.cfg)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    steps = [step for step in test_pipeline(cfg) if str(step['type']).split('.')[-1] != 'LoadImageFromFile']
    run = Compose([TRANSFORMS.build(step) for step in steps])
    data = [run(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])) for image in images]
    with torch.no_grad():
        samples = cast(BaseModel, model).test_step(pseudo_collate(data))
    return np.stack([sample.pred_score.cpu().numpy() for sample in samples])


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
    total = len(content['images'])
    chosen = [content['images'][index * total // count] for index in range(count)] if total > count else content['images']
    images, truth = [], []
    for image in chosen:
        boxes = [a for a in content['annotations'] if a['image_id'] == image['id'] and a['category_id'] in labels]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a['bbox'] for a in boxes)]
        truth.append(Boxes(np.array(corners), np.array([labels[a['category_id']] for a in boxes])))
        images.append(read_image(split.images / image['file_name']))
    return detection_sheet([i[:, :, ::-1] for i in images], truth, detect(model, images, score_thr), names)

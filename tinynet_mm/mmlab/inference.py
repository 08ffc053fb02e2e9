"""Detect objects with a built detector: plain rows and pictures from mmdet's ``inference_detector``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn
from torchvision.utils import draw_bounding_boxes

from ..data.coco import Split, palette, read_coco
from ..data.images import read_image, unique_names, write_image
from ..errors import UserError
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


def classes_of(model: nn.Module) -> list[str]:
    """Return the class names of a model from :func:`~tinynet_mm.mmlab.checkpoints.load_model`."""
    return list(cast(dict[str, Any], model.dataset_meta)['classes'])


def class_name(label: int, classes: Sequence[str]) -> str:
    """Return the name of a class, or ``class 7`` if the model has no name for it."""
    return classes[label] if label < len(classes) else f'class {label}'


def rows_of(path: Path, found: Boxes, classes: Sequence[str]) -> list[dict]:
    """Return the detections in the fields of COCO results, with names instead of ids."""
    rows = []
    for (x1, y1, x2, y2), label, score in zip(found.boxes, found.labels, scores_of(found)):
        box = [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)]
        rows.append(dict(file_name=str(path), category=class_name(int(label), classes), bbox=box, score=round(float(score), 4)))
    return rows


def scores_of(found: Boxes) -> np.ndarray:
    """Return the scores of detections, (N,).

    Raises:
        ValueError: boxes without scores, as those of a ground truth.
    """
    if found.scores is None:
        raise ValueError('boxes of a ground truth have no scores.')
    return found.scores


def draw(image: np.ndarray, found: Boxes, classes: Sequence[str]) -> np.ndarray:
    """Return a copy of the BGR image with boxes, classes and scores.

    torchvision draws them; mmdet's visualizer takes 0.5 s for each image.
    """
    if not len(found.boxes):
        return image.copy()
    words = [f'{class_name(int(label), classes)} {score:.2f}' for label, score in zip(found.labels, scores_of(found))]
    colours = palette(max(len(classes), int(found.labels.max()) + 1))
    picture = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)  # (3, H, W) RGB
    boxes = torch.from_numpy(found.boxes)
    drawn = draw_bounding_boxes(picture, boxes, words, [colours[label] for label in found.labels], width=2)
    return drawn.permute(1, 2, 0).numpy()[:, :, ::-1]


def predict_folder(
    model: nn.Module, files: Sequence[Path], out: Path, score_thr: float, batch: int = 8
) -> tuple[list[dict], list[str]]:
    """Detect in all files and write each drawn image into ``out``; images that cannot be read are left out.

    Args:
        model: a detector.
        files: image files.
        out: folder of the drawn images.
        score_thr: minimum score.
        batch: images for each forward pass.

    Returns:
        The rows of all detections, and a sentence for each image that cannot be read.
    """
    classes, names = classes_of(model), dict(zip(files, unique_names(files)))
    rows: list[dict] = []
    broken: list[str] = []
    for images in _batches(_readable(files, broken), batch):
        for (path, image), found in zip(images, detect(model, [image for _, image in images], score_thr)):
            rows += rows_of(path, found, classes)
            write_image(out / f'{names[path]}.jpg', draw(image, found, classes))
    return rows, broken


def _readable(files: Sequence[Path], broken: list[str]) -> Iterator[tuple[Path, np.ndarray]]:
    for path in files:
        try:
            yield path, read_image(path)
        except (UserError, FileNotFoundError) as error:
            broken.append(str(error))


def _batches(items: Iterator, size: int) -> Iterator[list]:
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


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

"""The data of a report: ground truth and detections of each image of a split."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from ..data.coco import Split, read_coco
from ..data.images import read_image
from ..errors import UserError, listed
from ..mmlab import inference
from ..plots import Boxes
from .scores import category_ids


@dataclass(frozen=True)
class Detections:
    """A split and what a model finds in it.

    Attributes:
        content: annotations in COCO format.
        names: class names in label order.
        files: path of each image, by image id.
        truth: ground-truth boxes of each image, without crowds.
        crowds: corners (N, 4) of regions with many objects, by image id.
        found: detections of each image.
    """

    content: dict
    names: tuple[str, ...]
    files: dict[int, Path]
    truth: dict[int, Boxes]
    crowds: dict[int, np.ndarray]
    found: dict[int, Boxes]


def detect(model: nn.Module, split: Split, progress: Callable[[Iterable], Iterable] = iter) -> Detections:
    """Detect in every image of a split.

    Args:
        model: a detector of :func:`~tinynet_mm.mmlab.checkpoints.load_model`.
        split: the images and their annotations.
        progress: shows the progress of an iterable.

    Raises:
        FileNotFoundError: a missing file.
        UserError: annotations without the classes of the model, or without images.
    """
    content, names = read_coco(split.ann_file), tuple(inference.classes_of(model))
    known = {category['name'] for category in content['categories']}
    if missing := [name for name in names if name not in known]:
        words = f'{split.ann_file} has no category {listed(missing)}, a class of the model'
        raise UserError(f'{words}; give the data set that the model is trained for with --data-root DIR.')
    if not content['images']:
        raise UserError(f'{split.ann_file} has no images; give a data set with images in this split.')
    files = {image['id']: split.images / image['file_name'] for image in content['images']}
    truth, areas = boxes_of(content, names, files), boxes_of(content, names, files, crowd=True)
    crowds = {image: boxes.boxes for image, boxes in areas.items() if len(boxes.boxes)}
    found = {image: inference.detect(model, [read_image(path)])[0] for image, path in progress(files.items())}
    return Detections(content, names, files, truth, crowds, found)


def boxes_of(content: dict, names: tuple[str, ...], images: Iterable[int], crowd: bool = False) -> dict[int, Boxes]:
    """The boxes of each image with these classes: single objects, or the crowds."""
    labels = {category: label for label, category in enumerate(category_ids(content, names))}
    rows: dict[int, list[tuple[tuple[float, ...], int]]] = {image: [] for image in images}
    for each in content['annotations']:
        if each['image_id'] in rows and each['category_id'] in labels and bool(each.get('iscrowd')) == crowd:
            x, y, w, h = each['bbox']
            rows[each['image_id']].append(((x, y, x + w, y + h), labels[each['category_id']]))
    return {
        image: Boxes(np.array([corners for corners, _ in found]), np.array([label for _, label in found]))
        for image, found in rows.items()
    }

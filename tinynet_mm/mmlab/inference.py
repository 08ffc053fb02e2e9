"""Detections of a built detector as plain rows and as pictures.

mmdet's ``inference_detector`` does the work; here stand reading images strictly (it crashes on one that is none, after a night's
run) and the plain form of what it returns.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError
from torchvision.utils import draw_bounding_boxes

from ..data.coco import Split, palette, read_coco
from ..errors import UserError
from ..plots import Boxes, detection_sheet


def read_image(path: Path) -> np.ndarray:
    """An image file as (H, W, 3) uint8 BGR, as mmdet's pipelines take it.

    Raises:
        UserError: the file is no image or is cut short.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert('RGB'))[:, :, ::-1].copy()
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f'{path} is not an image that can be read ({error}); remove it or save it again.') from error


def detect(model, images: Sequence[np.ndarray], score_thr: float = 0.0) -> list[Boxes]:
    """Boxes above a score in each (H, W, 3) BGR image, in its own pixels, by falling score."""
    from mmdet.apis import inference_detector

    found = []
    for sample in inference_detector(model, list(images)):
        instances = sample.pred_instances.cpu()
        instances = instances[instances.scores >= score_thr]
        found.append(Boxes(instances.bboxes.numpy(), instances.labels.numpy(), instances.scores.numpy()))
    return found


def rows_of(path: Path, found: Boxes, classes: Sequence[str]) -> list[dict]:
    """Detections in COCO's result fields, with names instead of ids."""
    rows = []
    for (x1, y1, x2, y2), label, score in zip(found.boxes, found.labels, found.scores):
        box = [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)]
        rows.append(dict(file_name=str(path), category=classes[label], bbox=box, score=round(float(score), 4)))
    return rows


def draw(image: np.ndarray, found: Boxes, classes: Sequence[str]) -> np.ndarray:
    """A copy of the BGR image with boxes, classes and scores; torchvision draws, mmdet's visualizer takes 0.5 s an image."""
    if not len(found.boxes):
        return image.copy()
    words = [f'{classes[label]} {score:.2f}' for label, score in zip(found.labels, found.scores)]
    colours = palette(len(classes))
    picture = torch.from_numpy(image[:, :, ::-1].copy()).permute(2, 0, 1)  # (3, H, W) RGB
    boxes = torch.from_numpy(found.boxes)
    drawn = draw_bounding_boxes(picture, boxes, words, [colours[label] for label in found.labels], width=2)
    return drawn.permute(1, 2, 0).numpy()[:, :, ::-1]


def predict_folder(model, files: Sequence[Path], out: Path, score_thr: float, batch: int = 8) -> list[dict]:
    """Detect in all files, write each drawn image into ``out``, and return all rows. Progress is printed by the caller."""
    classes = model.dataset_meta['classes']
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for names in batches(files, batch):
        images = [read_image(name) for name in names]
        for name, image, found in zip(names, images, detect(model, images, score_thr)):
            rows += rows_of(name, found, classes)
            write_image(out / f'{name.stem}.jpg', draw(image, found, classes))
    return rows


def batches(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[i : i + size] for i in range(0, len(items), size))


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a BGR image under a temporary name, then rename."""
    unfinished = path.with_name(f'.{path.stem}.tmp{path.suffix}')
    cv2.imwrite(str(unfinished), image)
    os.replace(unfinished, path)


def split_sheet(model, split: Split, count: int = 8, score_thr: float = 0.3) -> Figure:
    """Ground truth beside prediction for ``count`` images spread evenly over a split."""
    content, names = read_coco(split.ann_file), list(split.classes or model.dataset_meta['classes'])
    labels = {category['id']: names.index(category['name']) for category in content['categories'] if category['name'] in names}
    chosen = content['images'][:: max(1, len(content['images']) // count)][:count]
    images, truth = [], []
    for image in chosen:
        boxes = [a for a in content['annotations'] if a['image_id'] == image['id'] and a['category_id'] in labels]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a['bbox'] for a in boxes)]
        truth.append(Boxes(np.array(corners), np.array([labels[a['category_id']] for a in boxes])))
        images.append(read_image(split.images / image['file_name']))
    return detection_sheet([i[:, :, ::-1] for i in images], truth, detect(model, images, score_thr), names)

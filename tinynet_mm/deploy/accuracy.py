"""Accuracy of a model in any runtime, from its predictions: COCO mAP with pycocotools, top-1 of an image folder.

The same code evaluates the model in PyTorch and the exported file, so that a difference is that of the predictions.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco import Split, read_coco
from ..data.folders import class_folders
from ..data.images import read_image
from ..errors import UserError

# BGR images to (boxes (N, 4) in pixels of the image, scores (N,), labels (N,)) of each
Detect = Callable[[Sequence[np.ndarray]], Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]]
Classify = Callable[[Sequence[np.ndarray]], np.ndarray]  # BGR images to scores (B, K)
PER_IMAGE = 100  # detections that count, as in COCO's protocol


def detector_map(detect: Detect, split: Split, batch: int = 1, limit: int | None = None) -> float:
    """COCO mAP (IoU 0.50 to 0.95) of a split, 0 to 1.

    Args:
        detect: the model.
        split: annotations, images and classes in label order.
        batch: images in a call.
        limit: only the first images.

    Raises:
        UserError: a split without images, or a class that its file does not have.
    """
    content = read_coco(split.ann_file)
    ids = {category['name']: category['id'] for category in content['categories']}
    if missing := [name for name in split.classes if name not in ids]:
        raise UserError(f'{split.ann_file} has no class {missing[0]!r}: give the data set that the model is trained for.')
    results = []
    for chunk in chunks(content['images'][:limit], batch):
        found = detect([read_image(split.images / image['file_name']) for image in chunk])
        for image, rows in zip(chunk, found):
            for box, score, label in islice(zip(*rows), PER_IMAGE):
                x1, y1, x2, y2 = map(float, box)
                where = dict(image_id=image['id'], category_id=ids[split.classes[int(label)]], bbox=[x1, y1, x2 - x1, y2 - y1])
                results.append(where | dict(score=float(score)))
    return _coco_map(split, [image['id'] for image in content['images'][:limit]], results)


def _coco_map(split: Split, images: Sequence[int], results: list[dict]) -> float:
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO(str(split.ann_file))
        evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluation.params.imgIds = list(images)
        evaluation.params.catIds = [c['id'] for c in truth.dataset['categories'] if c['name'] in split.classes]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def top1(classify: Classify, folder: str | Path, classes: Sequence[str], batch: int = 1, limit: int | None = None) -> float:
    """Share of the images of a folder ``<class>/*.jpg`` whose best class is right, 0 to 1.

    Args:
        classify: the model.
        folder: with a folder for each class.
        classes: class names in label order.
        batch: images in a call.
        limit: images of each class.

    Raises:
        UserError: the folder has other classes.
    """
    found = class_folders(folder)
    if sorted(found) != sorted(classes):
        raise UserError(f'{folder} has other classes than the model: give the data set that the model is trained for.')
    images = [(path, label) for label, name in enumerate(classes) for path in found[name][:limit]]
    right = 0
    for chunk in chunks(images, batch):
        scores = classify([read_image(path) for path, _ in chunk])
        right += int((np.asarray(scores).argmax(1) == [label for _, label in chunk]).sum())
    return right / len(images)


def chunks(items: Iterable, size: int) -> Iterator[list]:
    """Lists of ``size`` items; the last can be shorter."""
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk

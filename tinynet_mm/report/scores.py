"""The scores of detections as rows: AP and AP at IoU 0.5 of each class, curves, the best F1, and a confusion matrix.

AP and the curves are pycocotools' own arrays, so they are the numbers of a training's log; the F1 follows from its matches, which
do not depend on a threshold: detections are matched by descending score. Only the confusion matrix is ours, because pycocotools
compares boxes of one class only.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..plots import Boxes

IOU = 0.5


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class.

    Attributes:
        name: of the class.
        boxes: number of ground-truth boxes, without crowds.
        images: number of images with such a box.
        ap: mean over IoU 0.50 to 0.95; NaN without boxes.
        ap50: at IoU 0.5.
        precision: (101,) at recall 0.00 to 1.00 and IoU 0.5.
        f1: the highest F1 of this class at IoU 0.5.
        threshold: the score with that F1.
    """

    name: str
    boxes: int
    images: int
    ap: float
    ap50: float
    precision: np.ndarray
    f1: float
    threshold: float


@dataclass(frozen=True)
class Scores:
    """The scores of a model on a split; ``f1`` and ``threshold`` are the best for all classes together."""

    classes: tuple[ClassScores, ...]
    map: float
    map50: float
    f1: float
    threshold: float


def evaluate(content: dict, names: Sequence[str], found: dict[int, Boxes]) -> Scores:
    """Score detections against annotations.

    Args:
        content: annotations in COCO format.
        names: class names in label order; each is a category of ``content``.
        found: the detections of each image, by image id.
    """
    ids = category_ids(content, names)
    evaluation = _run(content, ids, found)
    places = [list(evaluation.params.catIds).index(category) for category in ids]  # pycocotools sorts the ids
    precision = evaluation.eval['precision'][:, :, places, 0, -1]  # (IoU, recall, class), all areas, 100 detections
    counted = [a for a in content['annotations'] if a['image_id'] in found and not a.get('iscrowd')]
    matches = [_matches(evaluation, place, len(found)) for place in places]
    rows = []
    for index, (name, category) in enumerate(zip(names, ids)):
        images = [a['image_id'] for a in counted if a['category_id'] == category]
        f1, threshold = best_f1(*matches[index])
        ap, ap50 = _mean(precision[:, :, index]), _mean(precision[0, :, index])
        rows.append(ClassScores(name, len(images), len(set(images)), ap, ap50, precision[0, :, index], f1, threshold))
    scores, right, total = zip(*matches)
    f1, threshold = best_f1(np.concatenate(scores), np.concatenate(right), sum(total))
    return Scores(tuple(rows), _mean(precision), _mean(precision[0]), f1, threshold)


def category_ids(content: dict, names: Sequence[str]) -> list[int]:
    """Return the ids of the categories with these names."""
    by_name = {category['name']: category['id'] for category in content['categories']}
    return [by_name[name] for name in names]


def _run(content: dict, ids: Sequence[int], found: dict[int, Boxes]) -> COCOeval:
    """Run pycocotools on the images in ``found``."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = COCO()
        truth.dataset = dict(content, annotations=[dict(a) for a in content['annotations']])  # it adds fields
        truth.createIndex()
        results = [row for image, boxes in found.items() for row in _rows(image, boxes, ids)]
        evaluation = COCOeval(truth, truth.loadRes(results) if results else COCO(), 'bbox')
        evaluation.params.imgIds, evaluation.params.catIds = sorted(found), list(ids)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _rows(image: int, found: Boxes, ids: Sequence[int]) -> list[dict]:
    """Return the detections of an image in the format of COCO's results."""
    corners, scores = found.boxes.tolist(), _scores(found)
    return [
        dict(image_id=image, category_id=ids[label], bbox=[x1, y1, x2 - x1, y2 - y1], score=float(score))
        for (x1, y1, x2, y2), label, score in zip(corners, found.labels, scores)
    ]


def _scores(found: Boxes) -> np.ndarray:
    return np.ones(len(found.boxes)) if found.scores is None else found.scores


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that pycocotools could compute (-1: a class without boxes); NaN if there is none."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float('nan')


def _matches(evaluation: COCOeval, place: int, images: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the scores of a class's detections, whether each matches a box at IoU 0.5, and the number of boxes.

    Detections on crowds are left out, as in AP. ``evalImgs`` is ordered by class, area (all is the first) and image.
    """
    start = place * len(evaluation.params.areaRng) * images
    parts = [part for part in evaluation.evalImgs[start : start + images] if part]
    scores = [score for part in parts for score in part['dtScores']]
    right = [match > 0 for part in parts for match in part['dtMatches'][0]]
    ignored = [flag for part in parts for flag in part['dtIgnore'][0]]
    total = sum(int(np.sum(np.logical_not(part['gtIgnore']))) for part in parts)
    kept = ~np.array(ignored, dtype=bool)
    return np.array(scores, dtype=float)[kept], np.array(right, dtype=bool)[kept], total


def best_f1(scores: np.ndarray, right: np.ndarray, boxes: int) -> tuple[float, float]:
    """Return the highest F1 over all thresholds, and the lowest score that is at or above that threshold; 0 without matches.

    Args:
        scores: (N,) of the detections.
        right: (N,) whether a detection matches a box.
        boxes: number of ground-truth boxes.
    """
    if not len(scores) or not boxes:
        return 0.0, 0.0
    order = np.argsort(-scores, kind='stable')
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are above the same thresholds
    hits = np.cumsum(right[order])
    f1 = np.where(last, 2 * hits / (np.arange(1, len(scores) + 1) + boxes), -1)  # 2 TP / (detections + boxes)
    best = int(np.argmax(f1))
    return float(f1[best]), float(scores[order][best])


# Confusion matrix -------------------------------------------------------------------------------------------------------------


def confusion(
    truth: dict[int, Boxes], found: dict[int, Boxes], classes: int, threshold: float, crowds: dict[int, np.ndarray] | None = None
) -> np.ndarray:
    """Return the confusion matrix (K + 1, K + 1) of boxes: rows are the truth, columns the detections; the last is background.

    By descending score, each detection takes the free box of any class with the highest IoU, at least 0.5. A box that stays free
    counts in the column background, a detection without a box in the row background, unless it is on a crowd.

    Args:
        truth: ground-truth boxes of each image, by image id.
        found: detections of the same images.
        classes: number of classes K.
        threshold: the lowest score that counts.
        crowds: corners (N, 4) of regions with many objects, by image id.
    """
    matrix = np.zeros((classes + 1, classes + 1), dtype=int)
    for image, boxes in truth.items():
        matrix += confusion_of_image(boxes, found[image], classes, threshold, (crowds or {}).get(image))
    return matrix


def confusion_of_image(
    truth: Boxes, found: Boxes, classes: int, threshold: float, crowds: np.ndarray | None = None
) -> np.ndarray:
    """Return the confusion matrix of one image, see :func:`confusion`."""
    matrix = np.zeros((classes + 1, classes + 1), dtype=int)
    scores = _scores(found)
    order = [k for k in np.argsort(-scores, kind='stable') if scores[k] >= threshold]
    overlaps, free = iou(found.boxes, truth.boxes), np.ones(len(truth.boxes), dtype=bool)
    on_crowd = iou(found.boxes, crowds, crowd=True).max(1, initial=0) if crowds is not None else np.zeros(len(scores))
    for k in order:
        candidates = np.where(free, overlaps[k], -1.0)
        best = int(candidates.argmax()) if len(candidates) else -1
        if best >= 0 and candidates[best] >= IOU:
            free[best] = False
            matrix[truth.labels[best], found.labels[k]] += 1
        elif on_crowd[k] < IOU:
            matrix[classes, found.labels[k]] += 1
    np.add.at(matrix, (truth.labels[free], classes), 1)
    return matrix


def iou(first: np.ndarray, second: np.ndarray, crowd: bool = False) -> np.ndarray:
    """Return the IoU (N, M) of boxes given by corners; with ``crowd``, the share of a first box that is inside a second one."""
    if not len(first) or not len(second):
        return np.zeros((len(first), len(second)))
    sides = [np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]) for boxes in (first, second)]
    return np.asarray(mask.iou(sides[0], sides[1], [int(crowd)] * len(second)))

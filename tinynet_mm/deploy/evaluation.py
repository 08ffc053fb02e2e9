"""Accuracy of a model in torch and of its exported file, by the same code: COCO mAP with pycocotools, top-1 of a folder."""

import contextlib
import copy
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco import Split, find_layout, read_coco
from ..data.folders import class_folders
from ..data.images import read_image
from ..errors import UserError
from .resize import InputWriter
from .runtime import Classifier, Detector
from .spec import Spec

# BGR images to (boxes (N, 4) in pixels of the image, scores (N,), labels (N,)) of each
Detect = Callable[[Sequence[np.ndarray]], Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]]
Classify = Callable[[Sequence[np.ndarray]], np.ndarray]  # BGR images to scores (B, K)
PER_IMAGE = 100  # detections that count, as in COCO's protocol


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model and its file are measured.

    Attributes:
        metric: ``mAP`` or ``top-1``.
        of_model: the metric of the model in torch, 0 to 1.
        of_file: the metric of an exported file, 0 to 1; its arguments are ``path`` and ``batch``, the images in each call.
        calibration: returns the image files for the calibration of int8.
        images: number of images that are measured.
    """

    metric: str
    of_model: Callable[[], float]
    of_file: Callable[..., float]
    calibration: Callable[[], Sequence[Path]]
    images: int = 0


def of_data_root(
    root: Path,
    classes: Sequence[str],
    *,
    detect: Detect | None = None,
    classify: Classify | None = None,
    split: str = 'val',
    limit: int | None = None,
) -> Evaluation:
    """The evaluation on a data set, whose training images calibrate.

    Args:
        root: of a detector, a data set in COCO format; of a classifier, a folder with train/<class>/ and <split>/<class>/.
        classes: class names in label order.
        detect: the model in torch, if it is a detector.
        classify: the model in torch, if it is a classifier.
        split: ``val`` or ``test``.
        limit: only the first images of the split, or of each class.

    Raises:
        FileNotFoundError, UserError: no such data set.
    """
    if classify is not None:
        return of_classifier(classify, root, classes, split, limit)
    assert detect is not None
    layout = find_layout(root)
    return of_detector(detect, replace(layout.split(split), classes=tuple(classes)), lambda: layout.split('train'), limit)


def of_detector(detect: Detect, split: Split, calibration: Callable[[], Split], limit: int | None = None) -> Evaluation:
    """The evaluation of a detector.

    Args:
        detect: the model in torch.
        split: the images that are measured.
        calibration: returns the split whose images calibrate int8.
        limit: only the first images of the split.
    """

    def of_file(path: Path, batch: int) -> float:
        run = Detector(path).detect
        return detector_map(lambda images: [(f.boxes, f.scores, f.labels) for f in run(images)], split, batch, limit)

    def files() -> list[Path]:
        found = calibration()
        return [found.images / image['file_name'] for image in read_coco(found.ann_file)['images']]

    count = len(read_coco(split.ann_file)['images'][:limit])
    return Evaluation('mAP', lambda: detector_map(detect, split, 1, limit), of_file, files, count)


def of_classifier(
    classify: Classify, root: Path, classes: Sequence[str], split: str = 'val', limit: int | None = None
) -> Evaluation:
    """The evaluation of a classifier on ``root/<split>``; ``root/train`` calibrates.

    Args:
        classify: the model in torch.
        root: folder with train/<class>/ and <split>/<class>/.
        classes: class names in label order.
        split: the folder that is measured.
        limit: images of each class.
    """

    def of_file(path: Path, batch: int) -> float:
        return top1(Classifier(path), root / split, classes, batch, limit)

    def files() -> list[Path]:
        return [Path(file) for names in zip(*class_folders(root / 'train').values()) for file in names]  # each class in turns

    count = sum(len(found[:limit]) for found in class_folders(root / split).values())
    return Evaluation('top-1', lambda: top1(classify, root / split, classes, 8, limit), of_file, files, count)


def spread(files: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` files, spread evenly."""
    return list(files)[:: max(1, len(files) // count)][:count]


def calibration_batches(files: Sequence[Path], spec: Spec, count: int = 64) -> list[np.ndarray]:
    """Inputs of an exported file with ``count`` images spread evenly over ``files``, in batches of its size.

    Raises:
        UserError: fewer images than a batch.
    """
    size = spec.batch or 1
    chosen = spread(files, count)
    if len(chosen) < size:
        raise UserError(f'{len(chosen)} images do not fill a batch of {size} for calibration: give a data set with more images.')
    writer = InputWriter(spec)
    batches = []
    for start in range(0, len(chosen) - size + 1, size):
        batch = writer.batch(size)
        for file, target in zip(chosen[start : start + size], batch):
            writer.write(read_image(file), target)
        batches.append(batch)
    return batches


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
    results: list[dict] = []
    for chunk in chunks(content['images'][:limit], batch):
        found = detect([read_image(split.images / image['file_name']) for image in chunk])
        for image, rows in zip(chunk, found):
            results += coco_rows(image['id'], rows, lambda label: ids[split.classes[label]])
    return coco_map(content, [ids[name] for name in split.classes], [i['id'] for i in content['images'][:limit]], results)


def coco_rows(image: int, found: tuple[np.ndarray, np.ndarray, np.ndarray], category: Callable[[int], int]) -> Iterator[dict]:
    """The first 100 boxes, scores and labels of an image in COCO's format; ``category`` is the id of a label."""
    for box, score, label in islice(zip(*found), PER_IMAGE):
        x1, y1, x2, y2 = map(float, box)
        where = dict(image_id=image, category_id=category(int(label)), bbox=[x1, y1, x2 - x1, y2 - y1])
        yield where | dict(score=float(score))


def coco_map(content: dict, categories: Sequence[int], images: Sequence[int], results: list[dict]) -> float:
    """COCO mAP (IoU 0.50 to 0.95), 0 to 1.

    Args:
        content: annotations in COCO's format.
        categories: ids of the categories that count.
        images: ids of the images that count.
        results: boxes of :func:`coco_rows`.
    """
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = COCO()
        truth.dataset = copy.deepcopy(content)  # the evaluation adds fields
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), 'bbox')
        evaluation.params.imgIds = list(images)
        evaluation.params.catIds = list(categories)
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

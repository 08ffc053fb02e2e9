"""Accuracy of a model in torch and of its exported file, by the same code: COCO mAP with pycocotools, top-1 of a folder."""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.coco import Split, read_coco
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
        calibration: image files for the calibration of int8, not those of the metric.
    """

    metric: str
    of_model: Callable[[], float]
    of_file: Callable[..., float]
    calibration: Sequence[Path]


def of_detector(detect: Detect, split: Split, calibration: Split, limit: int | None = None) -> Evaluation:
    """The evaluation of a detector.

    Args:
        detect: the model in torch.
        split: the images that are measured.
        calibration: the images for int8.
        limit: only the first images of the split.
    """

    def of_file(path: Path, batch: int) -> float:
        run = Detector(path).detect
        return detector_map(lambda images: [(f.boxes, f.scores, f.labels) for f in run(images)], split, batch, limit)

    files = [calibration.images / image['file_name'] for image in read_coco(calibration.ann_file)['images']]
    return Evaluation('mAP', lambda: detector_map(detect, split, 1, limit), of_file, files)


def of_classifier(classify: Classify, root: Path, classes: Sequence[str], limit: int | None = None) -> Evaluation:
    """The evaluation of a classifier on ``root/val``; ``root/train`` calibrates.

    Args:
        classify: the model in torch.
        root: folder with train/<class>/ and val/<class>/.
        classes: class names in label order.
        limit: images of each class.
    """

    def of_file(path: Path, batch: int) -> float:
        return top1(Classifier(path), root / 'val', classes, batch, limit)

    files = [Path(file) for names in zip(*class_folders(root / 'train').values()) for file in names]  # one of each class in turns
    return Evaluation('top-1', lambda: top1(classify, root / 'val', classes, 8, limit), of_file, files)


def calibration_batches(files: Sequence[Path], spec: Spec, count: int = 64) -> list[np.ndarray]:
    """Inputs of an exported file with ``count`` images spread evenly over ``files``, in batches of its size.

    Raises:
        UserError: fewer images than a batch.
    """
    size = spec.batch or 1
    chosen = list(files)[:: max(1, len(files) // count)][:count]
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

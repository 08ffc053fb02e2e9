"""Agreement of an exported file with its model in torch, for images without labels: the answers of the model are the labels."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np

from ..data.images import read_image
from ..errors import UserError
from .evaluation import Classify, Detect, Evaluation, chunks, coco_map, coco_rows, spread
from .runtime import Classifier, Detector

MOST = 500  # images that are compared
CERTAIN = 0.3  # score of the boxes that count as labels


def of_images(files: Sequence[Path], *, detect: Detect | None = None, classify: Classify | None = None) -> Evaluation:
    """How far a file agrees with the model on images, all of which calibrate; at most 500, spread evenly, are compared.

    For a classifier the metric is the share of the images with the same best class: its top-1 accuracy on these images falls by
    less than the share of the others. For a detector it is the mAP against the boxes of the model with a score of at least 0.3.

    Args:
        files: the images.
        detect: the model in torch, if it is a detector.
        classify: the model in torch, if it is a classifier.
    """
    chosen = spread(files, MOST)
    if classify is not None:
        metric, of_file = 'agreement (top-1)', _same_class(classify, chosen)
    else:
        assert detect is not None
        metric, of_file = 'agreement (mAP)', _same_boxes(detect, chosen)
    return Evaluation(metric, lambda: 1.0, of_file, lambda: files, len(chosen))


def _read(files: Sequence[Path], batch: int) -> Iterator[list[np.ndarray]]:
    return ([read_image(file) for file in chunk] for chunk in chunks(files, batch))


def _same_class(classify: Classify, files: Sequence[Path]) -> Callable[[Path, int], float]:
    def best(function: Classify, batch: int) -> np.ndarray:
        return np.concatenate([np.asarray(function(images)).argmax(1) for images in _read(files, batch)])

    labels = cache(lambda: best(classify, 8))
    return lambda path, batch: float((best(Classifier(path), batch) == labels()).mean())


def _same_boxes(detect: Detect, files: Sequence[Path]) -> Callable[[Path, int], float]:
    truth = cache(lambda: _labelled(detect, files))

    def of_file(path: Path, batch: int) -> float:
        content, run = truth(), Detector(path).detect
        found = chain.from_iterable(run(images) for images in _read(files, batch))
        rows = [row for image, f in enumerate(found) for row in coco_rows(image, (f.boxes, f.scores, f.labels), int)]
        return coco_map(content, [c['id'] for c in content['categories']], range(len(files)), rows)

    return of_file


def _labelled(detect: Detect, files: Sequence[Path]) -> dict:
    """The boxes of a model as annotations in COCO's format, with labels as ids of the categories.

    Raises:
        UserError: the model finds no box.
    """
    rows: list[dict] = []
    for image, (boxes, scores, labels) in enumerate(detect(images)[0] for images in _read(files, 1)):
        sure = scores >= CERTAIN
        rows += coco_rows(image, (boxes[sure], scores[sure], labels[sure]), int)
    if not rows:
        raise UserError(
            f'the model finds no object with a score of {CERTAIN} or more in {len(files)} images for the calibration; '
            'give other images, or a data set with labels (--data-root).'
        )
    objects = [row | dict(id=place, area=row['bbox'][2] * row['bbox'][3], iscrowd=0) for place, row in enumerate(rows, 1)]
    categories = [dict(id=label, name=str(label)) for label in sorted({row['category_id'] for row in rows})]
    return dict(images=[dict(id=image) for image in range(len(files))], annotations=objects, categories=categories)

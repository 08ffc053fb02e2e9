"""Faithfulness of maps over a COCO-format set, with two baselines, a centre blob and noise; see :mod:`.faithfulness`.

For a detector, each box that finds an object (same class, IoU of at least 0.5) gets a map; for a classifier, each annotated class
of an image. Deletion replaces pixels of the input by the data preprocessor's mean, from the highest value of the map down;
insertion starts from a blurred input and restores pixels. The measure is the probability of the class at the same anchor or
proposal.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor
from torchvision.ops import box_iou

from ..data.coco import Split, read_coco
from ..errors import UserError
from ..files import results_folder, write_text
from . import faithfulness as measures
from .explain import Explainer
from .images import Pipeline, Sample, to_batch
from .probes import Candidate, ClassifierReading, Reading
from .targets import Question


@dataclass(frozen=True)
class Protocol:
    """Settings of a measurement, a column each in the result's CSV; ``blur`` is a share of the input's longer side.

    Raises:
        UserError: ``boxes_per_image`` below one.
    """

    methods: str
    layers: str
    split: str
    limit: int
    smoothing: str = ''
    score_threshold: float = 0.3
    iou: float = 0.5
    boxes_per_image: int = 5
    steps: int = 10
    fill: str = 'mean'
    blur: float = 0.03
    seed: int = 0

    def __post_init__(self) -> None:
        if self.boxes_per_image < 1:
            raise UserError(f'--topk {self.boxes_per_image}: at least one box or class must be explained.')


@dataclass(frozen=True, eq=False)
class Truth:
    """An annotated image: boxes (n, 4) as x1, y1, x2, y2 in pixels of the original, and the model's labels (n,)."""

    path: Path
    boxes: np.ndarray
    labels: np.ndarray


def read_truth(split: Split, classes: Sequence[str], limit: int | None = None) -> list[Truth]:
    """Read the images of a split with their boxes of ``classes``; at most ``limit`` images, spread evenly over the split.

    Raises:
        FileNotFoundError: no such annotation file.
        UserError: no category has the name of a class of the model, or a ``limit`` below one.
    """
    if limit is not None and limit < 1:
        raise UserError(f'--limit {limit}: give the number of images, or 0 for all.')
    content = read_coco(split.ann_file)
    labels = {c['id']: classes.index(c['name']) for c in content['categories'] if c['name'] in classes}
    if not labels:
        categories, known = (', '.join(names[:5]) for names in ([c['name'] for c in content['categories']], list(classes)))
        raise UserError(f'{split.ann_file} has the categories {categories}, the model the classes {known}: none is in both.')
    boxes: dict = {}
    for annotation in content['annotations']:
        if annotation['category_id'] in labels and not annotation.get('iscrowd'):
            boxes.setdefault(annotation['image_id'], []).append(annotation)
    images = [image for image in content['images'] if image['id'] in boxes]
    if limit and limit < len(images):
        images = [images[i] for i in np.linspace(0, len(images) - 1, limit).round().astype(int)]
    return [_truth(split.images / image['file_name'], boxes[image['id']], labels) for image in images]


def _truth(path: Path, annotations: Sequence[dict], labels: dict[int, int]) -> Truth:
    corners = np.array([a['bbox'] for a in annotations], dtype=float)
    corners[:, 2:] += corners[:, :2]
    return Truth(path, corners, np.array([labels[a['category_id']] for a in annotations]))


class Evaluator:
    """A callable that returns the rows of measures of a :class:`Truth`.

    Args:
        explainers: explainers of one model, by the ``source`` of their rows; all explain the same questions.
        cfg: the config of the model.
        protocol: the settings.
    """

    def __init__(self, explainers: dict[str, Explainer], cfg: Config, protocol: Protocol):
        self.explainers, self.protocol = explainers, protocol
        self.probe = next(iter(explainers.values())).probe
        self.pipeline = Pipeline(cfg, self.probe.model)

    def __call__(self, truth: Truth) -> list[dict]:
        """A row for each question on the image and each source of maps; empty if the model finds no annotated object."""
        sample = self.pipeline(truth.path)
        inputs, metas = to_batch([sample])
        with torch.no_grad():
            pairs = self._questions(self.probe.read(inputs, metas), sample, truth)
        questions = [question for question, _ in pairs]
        answers = {name: explainer(inputs, metas, lambda *_: questions)[0] for name, explainer in self.explainers.items()}
        rows = []
        for place, (question, own) in enumerate(pairs):
            candidate, rng = question.candidates[0], np.random.default_rng([self.protocol.seed, place])
            about = dict(image=truth.path.as_posix(), place=place, label=candidate.label, score=candidate.score)
            maps = {name: answered[place].map for name, answered in answers.items()}
            maps |= {'centre blob': measures.centre_blob(sample.shape), 'random': measures.random_map(sample.shape, rng)}
            present = {source: values for source, values in maps.items() if values is not None}
            measured = self._perturb(inputs, candidate, present, rng)
            for source, values in present.items():
                measured[source] |= self._locate(sample.put_back(values), own, truth.boxes[truth.labels == candidate.label])
            missing = dict.fromkeys(measures.MEASURES, math.nan)
            rows += [about | dict(source=source) | measured.get(source, missing) for source in maps]
        return rows

    @staticmethod
    def _locate(values: np.ndarray, own: np.ndarray, same: np.ndarray) -> dict:
        """Pointing game and energy for the object's own box, and for all boxes of its class."""
        named = {'': own, '_class': same}
        found = {f'pointing{name}': measures.pointing(values, boxes) for name, boxes in named.items()}
        return found | {f'energy{name}': measures.energy(values, boxes) for name, boxes in named.items()}

    def _questions(self, reading: Reading, sample: Sample, truth: Truth) -> list[tuple[Question, np.ndarray]]:
        """The questions on an image, each with its annotated boxes (n, 4); the box with the highest score is paired first."""
        if isinstance(reading, ClassifierReading):
            labels = np.unique(truth.labels)
            return [(Question((reading.best(0, int(label)),)), truth.boxes[truth.labels == label]) for label in labels]
        free = np.ones(len(truth.labels), dtype=bool)
        pairs: list[tuple[Question, np.ndarray]] = []
        for candidate in reading.found(0, self.protocol.score_threshold):
            match = self._object(candidate, sample, truth, free)
            if match is not None and len(pairs) < self.protocol.boxes_per_image:
                free[match] = False
                pairs.append((Question((candidate,)), truth.boxes[[match]]))
        return pairs

    def _object(self, candidate: Candidate, sample: Sample, truth: Truth, free: np.ndarray) -> int | None:
        """Index of the free object that a box of a detector finds; None if it finds none."""
        assert candidate.box is not None
        box = torch.from_numpy(sample.to_original(candidate.box))[None]
        shares = box_iou(box, torch.from_numpy(truth.boxes))[0].numpy() * (truth.labels == candidate.label) * free
        best = int(shares.argmax())
        return best if shares[best] > 0 and shares[best] >= self.protocol.iou else None

    def _perturb(
        self, inputs: Tensor, candidate: Candidate, sources: dict[str, np.ndarray], rng: np.random.Generator
    ) -> dict[str, dict]:
        """Areas under the deletion and insertion curves of each source; the curves' common ends are computed once."""
        blurred = _blur(inputs, self.protocol.blur)
        start, empty, blank = self._probabilities([inputs, torch.zeros_like(inputs), blurred], candidate)
        areas = {}
        for source, values in sources.items():
            masks = torch.from_numpy(measures.top_shares(values, self.protocol.steps, rng)[1:-1]).to(inputs.device)
            removed = [inputs.masked_fill(mask, 0) for mask in masks]
            restored = [torch.where(mask, inputs, blurred) for mask in masks]
            deletion, insertion = (self._probabilities(images, candidate) for images in (removed, restored))
            areas[source] = dict(
                deletion=measures.area([start, *deletion, empty]), insertion=measures.area([blank, *insertion, start])
            )
        return areas

    @torch.no_grad()
    def _probabilities(self, images: Sequence[Tensor], candidate: Candidate) -> list[float]:
        logits = [self.probe.read(image).logits([(0, candidate)]) for image in images]
        return [float(self.probe.probabilities(row)[0, candidate.label]) for row in logits]


def _blur(inputs: Tensor, share: float) -> Tensor:
    image = inputs[0].permute(1, 2, 0).cpu().numpy()
    blurred = cv2.GaussianBlur(image, (0, 0), share * max(image.shape[:2]))
    return torch.from_numpy(blurred).permute(2, 0, 1)[None].to(inputs)


def evaluate(
    evaluator: Callable[[Truth], list[dict]], truths: Sequence[Truth], journal: Path, fields: dict
) -> Iterator[list[dict]]:
    """Yield the rows of each image.

    Args:
        evaluator: computes the rows of an image.
        truths: the images.
        journal: a file with the settings and a line of JSON for each image; a later call continues it. It is removed if no image
            has been evaluated, or if none of them has a row.
        fields: the settings.

    Raises:
        UserError: the journal has other settings, or is from a version that stored file names without folders.
    """
    head, done = json.dumps(fields | dict(keys='path')), {}
    if journal.exists():
        lines = journal.read_text().split('\n')[:-1]
        if not lines or lines[0] != head:
            raise UserError(f'{journal} is from a run with other settings or an older version: delete it, or give another --out.')
        done = {entry['image']: entry['rows'] for entry in map(json.loads, lines[1:])}
    lines = [head, *(json.dumps(dict(image=i, rows=r)) for i, r in done.items()), '']
    with results_folder(journal.parent):
        write_text(journal, '\n'.join(lines))  # without an incomplete line that a crash left
        complete = False
        try:
            with journal.open('a') as file:
                for truth in truths:
                    key = truth.path.as_posix()
                    if key not in done:
                        done[key] = evaluator(truth)
                        file.write(json.dumps(dict(image=key, rows=done[key])) + '\n')
                        file.flush()
                    yield done[key]
            complete = True
        finally:
            if not done or (complete and not any(done.values())):
                journal.unlink()

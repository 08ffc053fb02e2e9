"""Maps for many images: in batches, each written as a picture with its raw values beside it, and a list of them all."""

import csv
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from torch import nn

from .draw import overlay
from .explain import Explainer, Explanation
from .images import Pipeline, Sample, batches, to_batch
from .targets import Wanted, choose

COLUMNS = ('image', 'file', 'classes', 'scores', 'boxes', 'layers', 'lowest', 'highest', 'note')
WAITING = 8  # maps that may wait for the disk


@dataclass(frozen=True, eq=False)
class Seen:
    """One explanation of one image, in the original's pixels. ``values`` (H, W) in 0 to 1, None where there is no map to see."""

    sample: Sample
    explanation: Explanation
    values: np.ndarray | None
    boxes: list[np.ndarray]
    names: list[str]

    @property
    def labels(self) -> list[str]:
        """Class and score of each candidate, as drawn."""
        return [f'{name} {c.score:.2f}' for name, c in zip(self.names, self.explanation.question.candidates)]

    @property
    def note(self) -> str:
        """What the user should know: why there is no map, or how the target was chosen."""
        told = [self.explanation.question.note, self.explanation.note]
        return self.explanation.reason or '; '.join(note for note in told if note)


def explain_images(
    explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, classes: Sequence[str] = (), batch_size: int = 4
) -> Iterator[list[Seen]]:
    """The explanations of each image, image by image; images of equal input shape share a forward and a backward pass."""
    pipeline, model = Pipeline(cfg), explainer.probe.model
    for samples in batches(ahead(pipeline, images, 2 * batch_size), batch_size):
        inputs, metas = to_batch(model, samples)
        for sample, explanations in zip(samples, explainer(inputs, metas, partial(choose, wanted=wanted))):
            yield [see(sample, explanation, classes) for explanation in explanations]


def ahead(function: Callable, items: Iterable, most: int) -> Iterator:
    """``map``, computed up to ``most`` items ahead by a thread, while the network has the other cores."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def see(sample: Sample, explanation: Explanation, classes: Sequence[str]) -> Seen:
    """An explanation of the network's input put back on the original picture."""
    candidates = explanation.question.candidates
    names = [class_name(c.label, classes) for c in candidates]
    boxes = [sample.to_original(c.box) for c in candidates if c.box is not None]
    values = None if explanation.map is None else sample.put_back(explanation.map)
    return Seen(sample, explanation, values, boxes, names)


def class_name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label < len(classes) else f'class {label}'


def write_all(seen: Iterable[list[Seen]], out: Path) -> Iterator[Seen]:
    """Write NAME.jpg and NAME.npy for each map and maps.csv for all of them; yields what was handled, map or not.

    maps.csv keeps a row for a map that could not be drawn, with the reason, and no file. Nothing is left half written.
    """
    out.mkdir(parents=True, exist_ok=True)
    part, rows = out / '.maps.csv.part', []
    with ThreadPoolExecutor(1) as pool:
        writing: deque = deque()
        for one, name in _named(seen):
            rows.append(_row(one, f'{name}.jpg' if one.values is not None else ''))
            if one.values is not None:
                writing.append(pool.submit(_write, one, out / name))
            if len(writing) > WAITING:
                writing.popleft().result()
            yield one
        for written in writing:
            written.result()
    with open(part, 'w', newline='') as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    os.replace(part, out / 'maps.csv')


def _named(seen: Iterable[list[Seen]]) -> Iterator[tuple[Seen, str]]:
    taken: dict[tuple[str, int | None], Path] = {}
    for several in seen:
        for place, one in enumerate(several):
            yield one, _name(one, taken, place if len(several) > 1 else None)


def _name(seen: Seen, taken: dict[tuple[str, int | None], Path], place: int | None) -> str:
    """``photo`` or ``photo_2_cat`` for the second map of several; ``photo-2`` for another image of the same name."""
    stem, number = seen.sample.path.stem, 1
    while taken.setdefault((stem if number == 1 else f'{stem}-{number}', place), seen.sample.path) != seen.sample.path:
        number += 1
    stem = stem if number == 1 else f'{stem}-{number}'
    if place is None:
        return stem
    name = re.sub(r'\W+', '-', seen.names[0]) if seen.names else 'none'
    return f'{stem}_{place + 1}_{name}'


def _write(seen: Seen, target: Path) -> None:
    picture = overlay(seen.sample.picture, seen.values, seen.boxes, seen.labels)
    part = target.with_name(f'.{target.name}.part')
    _, encoded = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 93])
    part.write_bytes(encoded.tobytes())
    os.replace(part, f'{target}.jpg')
    with open(part, 'wb') as file:
        np.save(file, seen.values)
    os.replace(part, f'{target}.npy')


def _row(seen: Seen, file: str) -> list:
    e = seen.explanation
    boxes = ';'.join(' '.join(f'{v:.1f}' for v in box) for box in seen.boxes)
    scores = ';'.join(f'{c.score:.4f}' for c in e.question.candidates)
    numbers = [f'{e.low:.6g}', f'{e.high:.6g}'] if e.layers else ['', '']
    return [seen.sample.path, file, ';'.join(seen.names), scores, boxes, ';'.join(e.layers), *numbers, seen.note]


def class_names(cfg: Config, model: nn.Module) -> list[str]:
    """The classes of a model: from its checkpoint, its config's data set, or the data set's type; empty where nobody says."""
    from mmengine.registry import DATASETS

    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    meta = getattr(model, 'dataset_meta', None) or {}
    kind = str(dataset.get('type'))
    named = DATASETS.get(kind if '.' in kind else f'{cfg.get("default_scope", "mmengine")}.{kind}')
    for source in (meta, dataset.get('metainfo') or {}, getattr(named, 'METAINFO', {})):
        names = source.get('classes') or source.get('CLASSES')
        if names:
            return [names] if isinstance(names, str) else list(names)
    return []

"""Maps for many images: in batches, each written as a picture with its raw values beside it, and a list of them all."""

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch
from mmengine.config import Config

from ..data.images import UniqueNames, write_image
from ..files import atomic, write_csv
from .draw import overlay
from .explain import Explainer, Explanation
from .images import Pipeline, Sample, batches, to_batch
from .targets import Wanted, choose

COLUMNS = ('image', 'file', 'classes', 'scores', 'boxes', 'layers', 'lowest', 'highest', 'note')
DARK = 0.02  # share of a map's highest value below which a box counts as having none of it
WAITING = 8  # maps that may wait for the disk
MOST_WORKERS = 4  # each holds a model and the activations of a batch


@dataclass(frozen=True, eq=False)
class Seen:
    """One explanation of one image, on the original picture; ``names`` are the classes of its candidates."""

    sample: Sample
    explanation: Explanation
    names: list[str]

    @cached_property
    def values(self) -> np.ndarray | None:
        """The map (H, W) in 0 to 1, None where there is none to see."""
        return self.sample.put_back(self.explanation.map) if self.has_map else None

    @property
    def has_map(self) -> bool:
        return self.explanation.map is not None and not self._hidden

    @property
    def boxes(self) -> list[np.ndarray]:
        """(x1, y1, x2, y2) of each candidate in pixels of the original."""
        return [self.sample.to_original(c.box) for c in self.explanation.question.candidates if c.box is not None]

    @property
    def labels(self) -> list[str]:
        """Class and score of each candidate, as drawn."""
        return [f'{name} {c.score:.2f}' for name, c in zip(self.names, self.explanation.question.candidates)]

    @property
    def note(self) -> str:
        """What the user should know: why there is no map, or how the target was chosen."""
        told = [self.explanation.question.note, self.explanation.note, self._unseen]
        return self._hidden or self.explanation.reason or '; '.join(note for note in told if note)

    @cached_property
    def _hidden(self) -> str:
        """The reason where all evidence is in what the pipeline padded, so that nothing would be seen on the picture."""
        if self.explanation.map is None:
            return ''
        height, width = self.sample.picture.shape[:2]
        inside = self.explanation.map[_slices(self.sample.to_input([0, 0, width, height]))]
        dark = inside.max(initial=0) < DARK * self.explanation.map.max()
        return 'all of its evidence is outside the picture, in what the test pipeline pads' if dark else ''

    @property
    def _unseen(self) -> str:
        """Boxes whose own map is empty: the evidence at their anchors is negative, so they have none of the shared map."""
        if not self.has_map or len(self.boxes) < 2:
            return ''
        dark = [label for box, label in zip(self.boxes, self.labels) if self.values[_slices(box)].max(initial=0) < DARK]
        return f'no positive evidence inside {", ".join(dark)}; --per-box tells more' if dark else ''


def _slices(box: np.ndarray) -> tuple[slice, slice]:
    """The pixels of a box, at least one, inside the picture."""
    x1, y1, x2, y2 = np.maximum(np.round(box), 0).astype(int)
    return slice(y1, max(y2, y1 + 1)), slice(x1, max(x2, x1 + 1))


def explain_images(
    explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, classes: Sequence[str] = (), batch_size: int = 4
) -> Iterator[list[Seen]]:
    """The explanations of each image, image by image; images of equal input shape share a forward and a backward pass."""
    workers = _explainers(explainer, math.ceil(len(images) / batch_size))
    free: SimpleQueue[Explainer] = SimpleQueue()
    for member in workers:
        free.put(member)

    def answer(batch: list[Sample]) -> tuple[list[Sample], list[list[Explanation]]]:
        member = free.get()
        try:
            return batch, member(*to_batch(batch), partial(choose, wanted=wanted))
        finally:
            free.put(member)

    samples = ahead(Pipeline(cfg, explainer.probe.model), images, 2 * batch_size * len(workers))
    with _shared_threads(len(workers)) as threads:
        for batch, answers in ahead(answer, batches(samples, batch_size), len(workers), len(workers), threads):
            for sample, explanations in zip(batch, answers):
                yield [Seen(sample, e, [class_name(c.label, classes) for c in e.question.candidates]) for e in explanations]


def _explainers(explainer: Explainer, most: int) -> list[Explainer]:
    """The explainer, and twins with models of their own: batches side by side, on one core each, beat one batch on all cores.

    An image's small maps leave cores waiting for each other, all the more while reading and writing take time from one of them.
    """
    on_cpu = next(explainer.probe.model.parameters()).device.type == 'cpu'
    count = max(1, min(torch.get_num_threads(), MOST_WORKERS, most)) if on_cpu else 1
    return [explainer, *(explainer.twin() for _ in range(count - 1))]


@contextmanager
def _shared_threads(workers: int) -> Iterator[int]:
    """Threads of torch for each of so many workers. Setting them also changes what later threads start with: that is undone."""
    threads = torch.get_num_threads()
    try:
        yield max(1, threads // workers)
    finally:
        torch.set_num_threads(threads)


def ahead(function: Callable, items: Iterable, most: int, workers: int = 1, threads: int = 0) -> Iterator:
    """``map``, computed up to ``most`` items ahead by ``workers``, each with so many ``threads`` of torch, if not 0.

    An error of ``items`` is raised when what came before it was handed out.
    """
    start = dict(initializer=torch.set_num_threads, initargs=(threads,)) if threads else {}
    with ThreadPoolExecutor(workers, **start) as pool:
        waiting: deque = deque()
        for item, error in _with_errors(items):
            waiting.append(pool.submit(_fail, error) if error else pool.submit(function, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _with_errors(items: Iterable) -> Iterator[tuple[object, Exception | None]]:
    try:
        for item in items:
            yield item, None
    except Exception as error:  # handed on to whoever takes the result
        yield None, error


def _fail(error: Exception) -> None:
    raise error


def class_name(label: int, classes: Sequence[str]) -> str:
    return classes[label] if label < len(classes) else f'class {label}'


def write_all(seen: Iterable[list[Seen]], out: Path) -> Iterator[Seen]:
    """Write NAME.jpg and NAME.npy for each map and maps.csv for all of them; yields what was handled, map or not.

    maps.csv keeps a row for a map that could not be drawn, with the reason, and no file. Nothing is left half written; where an
    error or ctrl-C ends it, maps.csv lists what was done before.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[list] = []
    try:
        with ThreadPoolExecutor(2) as pool:
            writing: deque = deque()
            for one, name in _named(seen):
                if one.has_map:
                    writing.append(pool.submit(_write, one, out / name))
                rows.append(_row(one, f'{name}.jpg' if one.has_map else ''))
                if len(writing) > WAITING:
                    writing.popleft().result()
                yield one
            for written in writing:
                written.result()
    finally:
        if rows:
            write_csv(out / 'maps.csv', [dict(zip(COLUMNS, row)) for row in rows])


def _named(seen: Iterable[list[Seen]]) -> Iterator[tuple[Seen, str]]:
    names = UniqueNames()
    for several in seen:
        for place, one in enumerate(several):
            stem = names(one.sample.path)
            yield one, stem if len(several) == 1 else f'{stem}_{place + 1}_{_slug(one)}'


def _slug(seen: Seen) -> str:
    return re.sub(r'\W+', '-', seen.names[0]) if seen.names else 'none'


def _write(seen: Seen, target: Path) -> None:
    write_image(f'{target}.jpg', overlay(seen.sample.picture, seen.values, seen.boxes, seen.labels), quality=93)
    with atomic(f'{target}.npy') as temporary:
        np.save(temporary, seen.values)


def _row(seen: Seen, file: str) -> list:
    e = seen.explanation
    boxes = ';'.join(' '.join(f'{v:.1f}' for v in box) for box in seen.boxes)
    scores = ';'.join(f'{c.score:.4f}' for c in e.question.candidates)
    numbers = [f'{e.low:.6g}', f'{e.high:.6g}'] if e.layers else ['', '']
    return [seen.sample.path, file, ';'.join(seen.names), scores, boxes, ';'.join(e.layers), *numbers, seen.note]

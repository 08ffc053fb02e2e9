"""Maps for many images: computed in batches, each written as a picture and as an array, with a table of all of them."""

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.config import Config

from ..data.images import UniqueNames, write_image
from ..files import atomic, check_not_inputs, results_folder, write_csv
from .draw import overlay
from .explain import Explainer, Explanation
from .images import Pipeline, Sample, batches, to_batch, utf8_name
from .targets import Wanted, choose

COLUMNS = ('image', 'file', 'classes', 'scores', 'boxes', 'layers', 'lowest', 'highest', 'note')
DARK = 0.02  # share of a map's highest value; a box with less has no evidence
WAITING = 8  # maps that may wait for the disk
MOST_WORKERS = 4  # each holds a model and the activations of a batch

T = TypeVar('T')
R = TypeVar('R')


@dataclass(frozen=True, eq=False)
class Seen:
    """One explanation of one image, on the original picture.

    Attributes:
        sample: the image.
        explanation: the map in pixels of the network's input.
        names: the class of each candidate.
    """

    sample: Sample
    explanation: Explanation
    names: list[str]

    @cached_property
    def values(self) -> np.ndarray | None:
        """The map (H, W) in 0 to 1 on the original picture; None if there is no map, or none of it is on the picture."""
        if self.explanation.map is None or self._hidden:
            return None
        return self.sample.put_back(self.explanation.map)

    @property
    def has_map(self) -> bool:
        """Whether there is a map on the picture, without computing it."""
        return self.explanation.map is not None and not self._hidden

    @property
    def boxes(self) -> list[np.ndarray]:
        """(x1, y1, x2, y2) of each candidate in pixels of the original."""
        return [self.sample.to_original(c.box) for c in self.explanation.question.candidates if c.box is not None]

    @property
    def labels(self) -> list[str]:
        """Class and score of each candidate, as they are drawn."""
        return [f'{name} {c.score:.2f}' for name, c in zip(self.names, self.explanation.question.candidates)]

    @property
    def note(self) -> str:
        """A note for the user: why there is no map, or how the target is chosen; empty if there is nothing to say."""
        notes = [self.explanation.question.note, self.explanation.note, self._unseen]
        return self._hidden or self.explanation.reason or '; '.join(note for note in notes if note)

    @cached_property
    def _hidden(self) -> str:
        """The reason if all evidence is in the padding of the pipeline, so that the map is empty on the picture."""
        if self.explanation.map is None:
            return ''
        height, width = self.sample.picture.shape[:2]
        inside = self.explanation.map[_slices(self.sample.to_input([0, 0, width, height]))]
        dark = inside.max(initial=0) < DARK * self.explanation.map.max()
        return 'all of its evidence is outside the picture, in what the test pipeline pads' if dark else ''

    @property
    def _unseen(self) -> str:
        """Boxes without evidence in the shared map: their own map is empty or outside of them."""
        if len(self.boxes) < 2 or self.values is None:
            return ''
        dark = [label for box, label in zip(self.boxes, self.labels) if self.values[_slices(box)].max(initial=0) < DARK]
        return f'no positive evidence inside {", ".join(dark)}; --per-box shows each map' if dark else ''


def _slices(box: np.ndarray) -> tuple[slice, slice]:
    """The pixels of a box, at least one, inside the picture."""
    x1, y1, x2, y2 = np.maximum(np.round(box), 0).astype(int)
    return slice(y1, max(y2, y1 + 1)), slice(x1, max(x2, x1 + 1))


def explain_images(
    explainer: Explainer, cfg: Config, images: Sequence[Path], wanted: Wanted, classes: Sequence[str] = (), batch_size: int = 4
) -> Iterator[list[Seen]]:
    """Yield the explanations of each image; images of equal input shape share a forward and a backward pass.

    Args:
        explainer: the model and the method.
        cfg: the config whose test pipeline reads the images.
        images: image files.
        wanted: the candidates to explain.
        classes: names of the model's classes; may be empty.
        batch_size: the highest number of images in a pass.

    Raises:
        FileNotFoundError: an image does not exist.
        UserError: a file that is not an image, or a target that the model does not have.
    """
    workers = _explainers(explainer, math.ceil(len(images) / batch_size))
    free: SimpleQueue[Explainer] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def answer(batch: list[Sample]) -> tuple[list[Sample], list[list[Explanation]]]:
        worker = free.get()
        try:
            return batch, worker(*to_batch(batch), partial(choose, wanted=wanted))
        finally:
            free.put(worker)

    samples = ahead(Pipeline(cfg, explainer.probe.model), images, 2 * batch_size * len(workers))
    with _shared_threads(len(workers)) as threads:
        for batch, answers in ahead(answer, batches(samples, batch_size), len(workers), len(workers), threads):
            for sample, explanations in zip(batch, answers):
                yield [Seen(sample, e, [class_name(c.label, classes) for c in e.question.candidates]) for e in explanations]


def _explainers(explainer: Explainer, most: int) -> list[Explainer]:
    """The explainer and copies with separate models: several batches on one core each are faster than one batch on all cores.

    The maps of one image are small, so threads of one batch wait for each other, also because reading and writing use a core.
    """
    on_cpu = next(explainer.probe.model.parameters()).device.type == 'cpu'
    count = max(1, min(torch.get_num_threads(), MOST_WORKERS, most)) if on_cpu else 1
    return [explainer, *(explainer.copy() for _ in range(count - 1))]


@contextmanager
def _shared_threads(workers: int) -> Iterator[int]:
    """Threads of torch for each of ``workers``; the number of threads that later threads start with is restored."""
    threads = torch.get_num_threads()
    try:
        yield max(1, threads // workers)
    finally:
        torch.set_num_threads(threads)


def ahead(function: Callable[[T], R], items: Iterable[T], most: int, workers: int = 1, threads: int = 0) -> Iterator[R]:
    """Compute ``map(function, items)`` up to ``most`` items ahead, in order.

    Args:
        function: the function.
        items: its arguments; an error of theirs is raised after the results of the items before it.
        most: the highest number of results that wait.
        workers: threads that call the function.
        threads: threads of torch for each worker; 0 does not set them.
    """
    start: dict[str, Any] = dict(initializer=torch.set_num_threads, initargs=(threads,)) if threads else {}
    with ThreadPoolExecutor(workers, **start) as pool:
        waiting: deque[Future[R]] = deque()
        for submit in _submissions(pool, function, items):
            waiting.append(submit)
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _submissions(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[Future[R]]:
    """The future result of each item; an error of ``items`` becomes the last result."""
    try:
        for item in items:
            yield pool.submit(function, item)
    except Exception as error:  # raised where the result is read
        failed: Future[R] = Future()
        failed.set_exception(error)
        yield failed


def class_name(label: int, classes: Sequence[str]) -> str:
    """The name of a class, or ``class 7`` if ``classes`` does not have it."""
    return classes[label] if label < len(classes) else f'class {label}'


def write_all(seen: Iterable[list[Seen]], out: Path) -> Iterator[Seen]:
    r"""Write NAME.jpg and NAME.npy for each map and maps.csv for all of them; yields each explanation, with a map or without.

    A .npy file holds the map (H, W) from 0 to 1, on the original picture. In maps.csv ``lowest`` and ``highest`` are the extremes
    of the raw map; an explanation without a map has a row with the reason and no file. All files are written completely or not
    at all. After an error or ctrl-C, maps.csv lists the images before it. Without a map nothing is written. A byte of a file
    name that is not UTF-8 is written as ``\xff``, in the table and in the names of the results.

    Raises:
        UserError: a file cannot be written.
    """
    rows: list[list] = []
    with results_folder(out):
        try:
            with ThreadPoolExecutor(2) as pool:
                writing: deque[Future[None]] = deque()
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
            if any(row[COLUMNS.index('file')] for row in rows):
                write_csv(out / 'maps.csv', [dict(zip(COLUMNS, row)) for row in rows])


def check_outputs(files: Sequence[Path], out: Path) -> None:
    """Raise UserError if :func:`write_all` can replace one of the files: NAME.jpg is the picture of a map of NAME.jpg."""
    check_not_inputs((out / path.name for path in files if path.suffix == '.jpg'), files)


def _named(seen: Iterable[list[Seen]]) -> Iterator[tuple[Seen, str]]:
    names = UniqueNames()
    for several in seen:
        for place, one in enumerate(several):
            stem = names(Path(utf8_name(one.sample.path)))
            yield one, stem if len(several) == 1 else f'{stem}_{place + 1}_{_slug(one)}'


def _slug(seen: Seen) -> str:
    return re.sub(r'\W+', '-', seen.names[0]) if seen.names else 'none'


def _write(seen: Seen, target: Path) -> None:
    assert seen.values is not None  # only explanations with a map are written
    write_image(f'{target}.jpg', overlay(seen.sample.picture, seen.values, seen.boxes, seen.labels), quality=93)
    with atomic(f'{target}.npy') as temporary:
        np.save(temporary, seen.values)


def _row(seen: Seen, file: str) -> list:
    e = seen.explanation
    boxes = ';'.join(' '.join(f'{v:.1f}' for v in box) for box in seen.boxes)
    scores = ';'.join(f'{c.score:.4f}' for c in e.question.candidates)
    numbers = [f'{e.low:.6g}', f'{e.high:.6g}'] if e.layers else ['', '']
    texts = utf8_name(seen.sample.path), file, utf8_name(';'.join(seen.names))
    return [*texts, scores, boxes, ';'.join(e.layers), *numbers, utf8_name(seen.note)]

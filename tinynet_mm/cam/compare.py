"""Figure 5 of the paper: several models looking at the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config

from .draw import comparison, overlay
from .explain import Explainer
from .folder import Seen, explain_images
from .targets import parse_target


@dataclass(frozen=True, eq=False)
class Compared:
    """A model of the figure; ``title`` stands above its column."""

    title: str
    explainer: Explainer
    cfg: Config
    classes: Sequence[str]


def compare(models: Sequence[Compared], images: Sequence[Path], target: str = 'top1', **options) -> tuple[Figure, list[str]]:
    """One row an image: the picture, then each model's map with the class and score it explains; and notes for the user.

    ``options`` are those of :func:`.targets.parse_target`. Where a model has no map the picture is shown, and a note says why.
    """
    columns, notes = [], {}
    for model in models:
        wanted = parse_target(target, model.classes, **options)
        seen = {}
        for one, *_ in explain_images(model.explainer, model.cfg, images, wanted, model.classes):
            seen[one.sample.path] = one
            if one.note:
                notes.setdefault(f'{" ".join(model.title.split())}: {one.note}', []).append(one.sample.path.name)
        columns.append([seen[path] for path in images])
    rows = [[(row[0].sample.picture, row[0].sample.path.stem), *map(_cell, row)] for row in zip(*columns)]
    figure = comparison(rows, ['', *(model.title for model in models)])
    return figure, [f'{note} ({", ".join(names)})' for note, names in notes.items()]


def _cell(seen: Seen) -> tuple[np.ndarray, str]:
    caption = ', '.join(seen.labels) if len(seen.labels) < 3 else f'{len(seen.labels)} boxes'
    if seen.values is None:
        return seen.sample.picture, f'no map: {caption or "nothing found"}'
    return overlay(seen.sample.picture, seen.values, seen.boxes), caption

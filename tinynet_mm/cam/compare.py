"""Figure 5 of the paper: maps of several models for the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine.config import Config

from ..errors import printable
from .draw import comparison, overlay
from .explain import Explainer
from .folder import Seen, explain_images
from .images import utf8_name
from .targets import parse_target


@dataclass(frozen=True, eq=False)
class Compared:
    """A model of the figure; ``title`` is the title of its column."""

    title: str
    explainer: Explainer
    cfg: Config
    classes: Sequence[str]


def compare(models: Sequence[Compared], images: Sequence[Path], target: str = 'top1', **options: Any) -> tuple[Figure, list[str]]:
    """Draw one row for each image: the picture, then each model's map with the class and score that it explains.

    Args:
        models: the columns.
        images: the rows.
        target: see :func:`.targets.parse_target`, as for ``options``.
        options: further arguments of it.

    Returns:
        The figure, and notes for the user. Where a model has no map, the picture is shown and a note says why.
    """
    columns: list[list[Seen]] = []
    notes: dict[str, list[str]] = {}
    for model in models:
        wanted = parse_target(target, model.classes, **options)
        seen = {}
        for one, *_ in explain_images(model.explainer, model.cfg, images, wanted, model.classes):
            seen[one.sample.path] = one
            if one.note:
                notes.setdefault(f'{" ".join(model.title.split())}: {one.note}', []).append(utf8_name(one.sample.path.name))
        columns.append([seen[path] for path in images])
    rows = [[(row[0].sample.picture, utf8_name(row[0].sample.path.stem)), *map(_cell, row)] for row in zip(*columns)]
    figure = comparison(rows, ['', *(model.title for model in models)])
    return figure, [f'{note} ({", ".join(names)})' for note, names in notes.items()]


def _cell(seen: Seen) -> tuple[np.ndarray, str]:
    caption = printable(', '.join(seen.labels)) if len(seen.labels) < 3 else f'{len(seen.labels)} boxes'
    if seen.values is None:
        return seen.sample.picture, f'no map: {caption or "nothing found"}'
    return overlay(seen.sample.picture, seen.values, seen.boxes), caption

"""Measures of whether a map shows what a decision depends on, from arrays: the map, boxes, and scores of perturbed images.

Not from the TinyNet paper. The pointing game is Zhang et al., "Top-down neural attention by excitation backprop" (2016); energy
inside the box is Wang et al., "Score-CAM" (2020), section 4.3; deletion and insertion are Petsiuk et al., "RISE" (2018). The
baselines, a blob in the centre and noise, do not depend on the network and are measured by the same functions.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tabulate import tabulate

from ..errors import UserError
from ..files import csv_text

Boxes = np.ndarray | Sequence[Sequence[float]]  # (n, 4) as x1, y1, x2, y2 in pixels
MEASURES = ('pointing', 'pointing_class', 'energy', 'energy_class', 'deletion', 'insertion')


def inside(shape: tuple[int, int], boxes: Boxes) -> np.ndarray:
    """A mask (H, W) of the pixels whose centre is in any of the boxes (x1, y1, x2, y2), in pixels."""
    y, x = (np.arange(side) + 0.5 for side in shape)
    covered = np.zeros(shape, dtype=bool)
    for x1, y1, x2, y2 in boxes:
        covered |= ((y >= y1) & (y <= y2))[:, None] & ((x >= x1) & (x <= x2))[None]
    return covered


def pointing(values: np.ndarray, boxes: Boxes) -> float:
    """1 if the highest value of a map (H, W) is in a box, 0 if not; of several equal highest values, the share in a box."""
    return float(inside(values.shape, boxes)[values == values.max()].mean())


def energy(values: np.ndarray, boxes: Boxes) -> float:
    """Share of the sum of a non-negative map (H, W) that is in the boxes, 0 to 1; NaN for a map of zeros."""
    total = values.sum(dtype=np.float64)
    return float(values[inside(values.shape, boxes)].sum(dtype=np.float64) / total) if total > 0 else math.nan


def top_shares(values: np.ndarray, steps: int, rng: np.random.Generator) -> np.ndarray:
    """Masks (steps + 1, H, W): in the k-th, the highest k / steps of the pixels are True; ``rng`` orders equal values.

    Raises:
        UserError: less than one step.
    """
    if steps < 1:
        raise UserError(f'{steps} steps: deletion and insertion need at least one.')
    shuffled = rng.permutation(values.size)
    order = shuffled[np.argsort(-values.ravel()[shuffled], kind='stable')]
    rank = np.empty(values.size, dtype=np.int64)
    rank[order] = np.arange(values.size)
    limits = np.round(np.arange(steps + 1) * values.size / steps)
    return (rank < limits[:, None]).reshape(steps + 1, *values.shape)


def area(curve: Sequence[float]) -> float:
    """Area under equally spaced values over 0 to 1, by the trapezoid rule."""
    values = np.asarray(curve, dtype=float)
    return float((values[1:] + values[:-1]).mean() / 2)


def centre_blob(shape: tuple[int, int]) -> np.ndarray:
    """A Gaussian in the centre of (H, W) with a standard deviation of a quarter of each side: objects are often in the centre."""
    y, x = (((np.arange(side) + 0.5) / side - 0.5) / 0.25 for side in shape)
    return np.exp(-0.5 * (y[:, None] ** 2 + x[None] ** 2))


def random_map(shape: tuple[int, int], rng: np.random.Generator, cells: int = 16) -> np.ndarray:
    """Uniform noise in ``cells`` x ``cells`` blocks over (H, W), as coarse as the maps of a deep layer."""
    rows, columns = (np.arange(side) * cells // side for side in shape)
    return rng.random((cells, cells))[rows][:, columns]


def summarise(rows: Iterable[dict]) -> list[dict]:
    """Mean of every measure for each ``source``, with the standard error of the mean under the same name and ``_se``.

    ``rows`` are one question each, with ``source``, ``image`` and the MEASURES, all NaN where there is no map.
    """
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row['source'], []).append(row)
    return [dict(source=source, **_means(group)) for source, group in groups.items()]


def _means(group: Sequence[dict]) -> dict:
    without = sum(math.isnan(row['pointing']) for row in group)
    summary: dict = dict(images=len({row['image'] for row in group}), maps=len(group) - without, without_map=without)
    for measure in MEASURES:
        values = np.array([float(row[measure]) for row in group])
        values = values[np.isfinite(values)]
        error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        summary |= {measure: values.mean() if len(values) else math.nan, f'{measure}_se': error}
    return summary


def to_csv(rows: Sequence[dict], protocol: dict) -> str:
    """Rows as CSV text, followed by the protocol's fields as columns; floats with four digits."""
    return csv_text({k: f'{v:.4g}' if isinstance(v, float) else v for k, v in (row | protocol).items()} for row in rows)


def table(rows: Sequence[Mapping]) -> str:
    """A summary as an aligned table, a line for each source: mean ± standard error of each measure."""
    lines = [[row['source'], row['maps'], *(f'{row[m]:.3f} ± {row[f"{m}_se"]:.3f}' for m in MEASURES)] for row in rows]
    return tabulate(lines, ['', 'maps', *MEASURES], 'plain', disable_numparse=True)

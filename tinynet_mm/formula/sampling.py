"""Random networks for the search: uniform draws of (r, w, d) inside a band of MACs, or at one budget.

TinyNet (NeurIPS 2020): sections 3.2 and 4.2 draw r, w and d uniformly from 0.35 to 2.8 and keep the networks with 0.03 to 1.05
of the base's FLOPs (Figure 1); section 3.1 draws r and d, and tunes w to one budget within 3 % (Figure 2).
"""

from collections.abc import Callable, Iterator

import numpy as np

from ..archs import EFFICIENTNET_B0, Arch, Integers, Scaling, scale
from ..cost import cost
from ..errors import UserError
from .solve import keeps_ends, last_below

BOUNDS = (0.35, 2.8)
BATCH = 8192
TUNED_BATCH = 1024  # smaller, since each candidate needs a bisection
GRID = 0.001  # step of a tuned w
PATIENCE = 40  # batches without a new network before a sampler stops

# r, w and d of a batch (n,), and the least and the most MACs that are kept
Draw = tuple[np.ndarray, np.ndarray, np.ndarray, float, float]


def sample_band(
    n: int,
    rng: np.random.Generator,
    base: Arch = EFFICIENTNET_B0,
    low: float = 0.03,
    high: float = 1.05,
    bounds: tuple[float, float] = BOUNDS,
    classes: int = 1000,
) -> list[dict]:
    """Draw ``n`` different networks with ``low`` to ``high`` times the base's MACs.

    Args:
        n: number of networks.
        rng: source of the draws.
        base: the base table.
        low: least MACs as a share of the base's.
        high: most MACs as a share of the base's.
        bounds: limits of r, w and d.
        classes: outputs of the classifier, which counts.

    Returns:
        rows with r, w, d, resolution, c (MACs as a share of the base's), macs, params and activations. Draws that round to the
        same network count once.

    Raises:
        UserError: an argument is not allowed, or the band has fewer than ``n`` networks.
    """
    _check(n, bounds)
    if not 0 < low < high:
        raise UserError(f'the band {low} to {high} is empty; give 0 < low < high, like 0.03 to 1.05 of the base.')
    base_macs = cost(base, classes=classes).macs

    def draw() -> Draw:
        r, w, d = np.round(rng.uniform(*bounds, size=(3, BATCH)), 4)
        return r, w, d, low * base_macs, high * base_macs

    return _collect(n, draw, base, classes, f'{low:g} to {high:g} of {base.name}')


def sample_budget(
    n: int,
    rng: np.random.Generator,
    base: Arch = EFFICIENTNET_B0,
    c: float = 0.5,
    tolerance: float = 0.03,
    bounds: tuple[float, float] = BOUNDS,
    classes: int = 1000,
) -> list[dict]:
    """Draw r and d at random and tune w until the MACs are within ``tolerance`` of ``c`` times the base's.

    Arguments, rows and errors are those of :func:`sample_band`.
    """
    _check(n, bounds)
    if not (c > 0 and 0 < tolerance < 1):
        raise UserError(f'c={c}, tolerance={tolerance}: c must be a positive share of the base, the tolerance between 0 and 1.')
    target = c * cost(base, classes=classes).macs

    def draw() -> Draw:
        r, d = np.round(rng.uniform(*bounds, size=(2, TUNED_BATCH)), 4)

        def macs(k: np.ndarray) -> Integers:
            return cost(scale(base, Scaling(r, k * GRID, d, keeps_ends(base))), classes=classes).macs

        ends = np.broadcast_to(np.round(np.array(bounds) / GRID).astype(int)[:, None], (2, TUNED_BATCH))
        below = last_below(macs, target, *ends)
        k = np.where(target - macs(below) <= macs(below + 1) - target, below, below + 1)
        return r, np.round(k * GRID, 4), d, (1 - tolerance) * target, (1 + tolerance) * target

    return _collect(n, draw, base, classes, f'{c:g} of {base.name} within {tolerance:.0%}')


def _check(n: int, bounds: tuple[float, float]) -> None:
    if n < 1:
        raise UserError(f'cannot draw {n} networks; ask for one or more.')
    if not 0 < bounds[0] < bounds[1]:
        raise UserError(f'bounds={bounds}: give two positive numbers between which r, w and d are drawn, the smaller first.')


def _collect(n: int, draw: Callable[[], Draw], base: Arch, classes: int, wanted: str) -> list[dict]:
    """Draw batches until ``n`` different networks are between the limits that ``draw`` returns."""
    found: dict[bytes, dict] = {}
    stalled = 0
    while len(found) < n and stalled < PATIENCE:
        before = len(found)
        for key, row in _rows(draw(), base, classes):
            found.setdefault(key, row)
            if len(found) == n:
                break
        stalled = 0 if len(found) > before else stalled + 1
    if len(found) < n:
        raise UserError(f'found only {len(found)} different networks at {wanted}, not {n}; ask for fewer, or widen the band.')
    return list(found.values())


def _rows(drawn: Draw, base: Arch, classes: int) -> Iterator[tuple[bytes, dict]]:
    """An identity and a row for each network of a batch that is between the limits."""
    r, w, d, low, high = drawn
    base_macs = cost(base, classes=classes).macs
    arch = scale(base, Scaling(r, w, d, keeps_ends(base)))
    costs = cost(arch, classes=classes)
    identity, resolution = _identity(arch, len(r)), np.broadcast_to(arch.resolution, len(r))
    for i in np.flatnonzero((costs.macs >= low) & (costs.macs <= high)):
        macs, params, activations = (int(np.asarray(values)[i]) for values in costs)
        row = dict(r=float(r[i]), w=float(w[i]), d=float(d[i]), resolution=int(resolution[i]), c=macs / base_macs)
        yield identity[i].tobytes(), row | dict(macs=macs, params=params, activations=activations)


def _identity(arch: Arch, n: int) -> np.ndarray:
    """Integers (n, k); two rows are equal if and only if the networks are equal."""
    columns = [arch.resolution, arch.stem, arch.head, arch.hidden]
    columns += [value for stage in arch.stages for value in (stage.channels, stage.repeats)]
    return np.ascontiguousarray(np.stack([np.broadcast_to(c, n) for c in columns], axis=1))

"""Random networks for the search: uniform draws of (r, w, d) inside a band of MACs, or at one budget.

TinyNet (NeurIPS 2020): section 3.2 and 4.2 draw r, w and d uniformly from 0.35 to 2.8 and keep the networks of 0.03 to 1.05 of
the base's FLOPs (Figure 1); section 3.1 draws r and d, and tunes w to one budget within 3 % (Figure 2).
"""

import numpy as np

from ..archs import EFFICIENTNET_B0, Arch, Scaling, scale
from ..cost import cost
from ..errors import UserError
from .solve import last_below

BOUNDS = (0.35, 2.8)
BATCH = 8192
TUNED_BATCH = 1024  # each of these costs a bisection
GRID = 0.001  # of w, where it is tuned
PATIENCE = 40  # batches without one new network before a sampler gives up


def sample_band(
    n: int,
    rng: np.random.Generator,
    base: Arch = EFFICIENTNET_B0,
    low: float = 0.03,
    high: float = 1.05,
    bounds: tuple[float, float] = BOUNDS,
    classes: int = 1000,
) -> list[dict]:
    """Draw ``n`` different networks of ``low`` to ``high`` times the base's MACs.

    Rows have r, w, d, resolution, c (MACs as a share of the base's), macs, params and activations. Two draws which round to the
    same network count once. Raises ValueError where the band holds fewer than ``n`` networks.
    """
    _check(n, bounds)
    if not 0 < low < high:
        raise UserError(f'the band {low} to {high} is empty; it needs 0 < low < high, like 0.03 to 1.05 of the base.')
    base_macs = cost(base, classes=classes).macs

    def draw():
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
    """Draw r and d at random and tune w until the MACs are within ``tolerance`` of ``c`` times the base's; rows as above."""
    _check(n, bounds)
    if not (c > 0 and 0 < tolerance < 1):
        raise UserError(f'c={c}, tolerance={tolerance}: c is a positive share of the base, the tolerance is between 0 and 1.')
    target = c * cost(base, classes=classes).macs

    def draw():
        r, d = np.round(rng.uniform(*bounds, size=(2, TUNED_BATCH)), 4)

        def macs(k):
            return cost(scale(base, Scaling(r, k * GRID, d)), classes=classes).macs

        ends = np.broadcast_to(np.round(np.array(bounds) / GRID).astype(int)[:, None], (2, TUNED_BATCH))
        below = last_below(macs, target, *ends)
        k = np.where(target - macs(below) <= macs(below + 1) - target, below, below + 1)
        return r, np.round(k * GRID, 4), d, (1 - tolerance) * target, (1 + tolerance) * target

    return _collect(n, draw, base, classes, f'{c:g} of {base.name} within {tolerance:.0%}')


def _check(n: int, bounds: tuple[float, float]):
    if n < 1:
        raise UserError(f'cannot draw {n} networks; ask for one or more.')
    if not 0 < bounds[0] < bounds[1]:
        raise UserError(f'bounds={bounds}: r, w and d are drawn between two positive numbers, the smaller first.')


def _collect(n: int, draw, base: Arch, classes: int, wanted: str) -> list[dict]:
    """Draw batches until ``n`` different networks are in the band that ``draw`` returns beside them."""
    base_macs = cost(base, classes=classes).macs
    found: dict[bytes, dict] = {}
    stalled = 0
    while len(found) < n and stalled < PATIENCE:
        before = len(found)
        r, w, d, low, high = draw()
        arch = scale(base, Scaling(r, w, d))
        costs = cost(arch, classes=classes)
        identity = _identity(arch, len(r))
        for i in np.flatnonzero((costs.macs >= low) & (costs.macs <= high)):
            macs, params, activations = (int(a[i]) for a in costs)
            row = dict(r=float(r[i]), w=float(w[i]), d=float(d[i]), resolution=int(arch.resolution[i]), c=macs / base_macs)
            found.setdefault(identity[i].tobytes(), row | dict(macs=macs, params=params, activations=activations))
            if len(found) == n:
                break
        stalled = 0 if len(found) > before else stalled + 1
    if len(found) < n:
        raise UserError(f'found only {len(found)} different networks at {wanted}, not {n}; ask for fewer, or widen the band.')
    return list(found.values())


def _identity(arch: Arch, n: int) -> np.ndarray:
    """(n, k) integers: two rows are equal where the networks are."""
    columns = [arch.resolution, arch.stem, arch.head, arch.hidden]
    columns += [value for stage in arch.stages for value in (stage.channels, stage.repeats)]
    return np.ascontiguousarray(np.stack([np.broadcast_to(c, n) for c in columns], axis=1))

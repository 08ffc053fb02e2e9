"""Move r and d of the tiny formula within their uncertainty, until a width meets the budget.

TinyNet (NeurIPS 2020), equation 5, leaves w free, and one step of w changes the cost by up to 15 % of the budget. The formula
knows r and d only to a few per cent, which is several pixels and blocks.
"""

import numpy as np

from ..archs import Arch, Scaling, scale
from .sampling import BOUNDS
from .solve import Meter, Step, nearest, widths

GRID = 0.005  # step of d
CLOSE = 0.01  # a budget is met if the cost differs by less


def miss(step: Step, budget: float) -> float:
    """The difference from the budget as a share of it, without sign."""
    return abs(step.achieved / budget - 1)


def closest(
    base: Arch,
    predicted: tuple[float, float],
    deviations: tuple[float, float],
    ends: tuple[float, float],
    budget: float,
    meter: Meter,
    fixed_ends: bool | None = None,
) -> tuple[Step, Step | None]:
    """The network within 1 % of the budget whose r and d are nearest to the predicted ones, and the next wider one.

    If there is none, it is the network with the least difference from the budget.

    Args:
        base: the base network.
        predicted: r and d.
        deviations: the distances by which r and d may differ, which are also the units of the distance.
        ends: the least and the largest w.
        budget: the cost of one image.
        meter: counts the cost.
        fixed_ends: whether stem and head keep their width; by default as in the tiny formula.
    """
    found = []
    for r, d in _neighbours(base, predicted, deviations):
        found.append(nearest(widths(base, r, d, *ends, fixed_ends), budget, meter))
        if miss(found[-1][0], budget) <= CLOSE:
            return found[-1]
    return min(found, key=lambda pair: miss(pair[0], budget))


def _neighbours(base: Arch, predicted: tuple[float, float], deviations: tuple[float, float]) -> list[tuple[float, float]]:
    """Pairs of r and d with different resolutions or repeats, by rising distance from the predicted pair, which is the first."""
    (r, d), (r_limit, d_limit) = predicted, deviations
    pixels = np.arange(np.ceil((r - r_limit) * base.resolution), np.floor((r + r_limit) * base.resolution) + 1)
    others = pixels[pixels != int(r * base.resolution)]
    resolutions = [r, *np.round((others + 0.5) / base.resolution, 4).tolist()]  # the middle of the values that give this side
    depths: dict[tuple[int, ...], float] = {}
    for offset in np.arange(0, d_limit, GRID):
        for value in (round(float(d + offset), 4), round(float(d - offset), 4)):
            if offset and not BOUNDS[0] <= value <= BOUNDS[1]:
                continue
            depths.setdefault(tuple(stage.repeats for stage in scale(base, Scaling(d=value)).stages), value)
    pairs = [(x, y) for x in resolutions for y in depths.values() if x == r or BOUNDS[0] <= x <= BOUNDS[1]]
    return sorted(pairs, key=lambda pair: ((pair[0] - r) / r_limit) ** 2 + ((pair[1] - d) / d_limit) ** 2)

"""Inferred multipliers (r, w, d) that the paper does not publish: ResNet-50-A and B (table 2), GhostNet-B to D (table 6).

The paper shrinks both bases by "the proposed tiny formula". Only its five TinyNets are published, so the start is the resolution
and depth of the TinyNets at the same cost ratio c, interpolated over log c. Of all (r, w, d) on a grid that meet the paper's
multiply-adds and parameters, the result has the r and d nearest to the start. GhostNets also scale their stem, head and hidden
layer: at the base's width these have 3.8 M parameters, but GhostNet-D has 2.6 M in total.

The results are in :data:`tinynet_mm.archs.PRESETS`; a test runs :func:`infer` again and compares.
"""

from dataclasses import dataclass

import numpy as np

from ..archs import BASES, EFFICIENTNET_B0, PRESETS, Scaling, preset
from ..cost import Cost, cost, scaled_cost
from ..errors import UserError

STEP = 0.01  # of r, w and d: the published TinyNets have two to three digits
REACH = 0.2  # distance from the trend up to which r and d are searched, as a ratio
TOLERANCE = dict(macs=0.01, params=0.015)  # relative; the published TinyNets are within 0.8 % and 0.9 % of the printed figures


@dataclass(frozen=True)
class Budget:
    """The paper's figures of a network: multiply-adds, and parameters if they are printed (else 0)."""

    base: str
    macs: float
    params: float = 0.0
    fixed_ends: bool = True

    def meets(self, found: Cost) -> np.ndarray:
        """Boolean array (n,): the candidates within :data:`TOLERANCE` of both figures."""
        fits = np.abs(found.macs / self.macs - 1) <= TOLERANCE['macs']
        return fits & (np.abs(found.params / self.params - 1) <= TOLERANCE['params']) if self.params else fits


BUDGETS = {
    'resnet50_a': Budget('resnet50', 3.6e9),
    'resnet50_b': Budget('resnet50', 1.8e9),
    'ghostnet_b': Budget('ghostnet_a', 300e6, 8.0e6, fixed_ends=False),
    'ghostnet_c': Budget('ghostnet_a', 141e6, 5.0e6, fixed_ends=False),
    'ghostnet_d': Budget('ghostnet_a', 52e6, 2.6e6, fixed_ends=False),
}


def trend(c: float) -> tuple[float, float]:
    """(r, d) of the published TinyNets at the cost ratio ``c``: linear in log c between them, constant outside."""
    names = [f'tinynet_{letter}' for letter in 'edcba']
    costs = [np.log(cost(preset(name)).macs / cost(EFFICIENTNET_B0).macs) for name in names]
    r, d = ([getattr(PRESETS[name][1], field) for name in names] for field in 'rd')
    return float(np.interp(np.log(c), costs, r)), float(np.interp(np.log(c), costs, d))


def infer(name: str) -> Scaling:
    """Solve one of :data:`BUDGETS`, in about a second.

    Raises:
        UserError: no candidate near the trend meets the budget.
    """
    budget = BUDGETS[name]
    base = BASES[budget.base]
    r0, d0 = trend(budget.macs / cost(base).macs)
    r, d, w = (a.ravel() for a in np.meshgrid(_around(r0), _around(d0), np.arange(0.4, 1.1, STEP).round(2), indexing='ij'))
    found = scaled_cost(base, Scaling(r=r, w=w, d=d, fixed_ends=budget.fixed_ends))
    distance = np.log(r / r0) ** 2 + np.log(d / d0) ** 2
    fits = np.flatnonzero(budget.meets(found))
    if not fits.size:
        raise UserError(
            f'no network within {REACH:.0%} of r={r0:.2f} and d={d0:.2f} meets the budget of {name}; increase REACH or TOLERANCE.'
        )
    best = fits[np.lexsort((np.abs(found.macs / budget.macs - 1)[fits], distance[fits]))[0]]
    return Scaling(r=float(r[best]), w=float(w[best]), d=float(d[best]), fixed_ends=budget.fixed_ends)


def _around(value: float) -> np.ndarray:
    return np.arange(value * (1 - REACH), value * (1 + REACH), STEP).round(2)

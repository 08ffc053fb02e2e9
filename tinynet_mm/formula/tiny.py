"""The tiny formula: from a budget to resolution, depth and width.

TinyNet (NeurIPS 2020), section 3.2: resolution and depth are read off Gaussian processes fitted to the best networks of a
sweep, over the cost ratio c to the base (equations 1 to 4); width then meets the budget (equation 5, solved on the real costs by
:mod:`tinynet_mm.formula.solve`). ``TinyFormula.published()`` is fitted to the five published TinyNets; the paper's own sweep was
not published.
"""

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..archs import EFFICIENTNET_B0, PRESETS, Arch, Scaling, preset
from ..cost import Cost, cost
from ..errors import UserError
from ..files import read_json, write_json
from .bases import load_base
from .process import Process
from .rows import column
from .sampling import BOUNDS
from .solve import Meter, Step, cost_meter, last_below, nearest, solve, widths

MARGIN = 1.1  # the fitted range reaches so far beyond its outermost networks: the paper's own c = 0.06 is the 0.063 of TinyNet-E
EXTRAPOLATED = (0.005, 4.0)
PUBLISHED_NOISE = 0.005  # the published r and d are the formula's output, rounded to steps of 0.005


@dataclass(frozen=True)
class Solution:
    """A network for a budget: ``c`` is what r and d are read at, ``achieved`` in the budget's unit."""

    base: str
    c: float
    scaling: Scaling
    arch: Arch
    cost: Cost
    budget: float
    unit: str
    achieved: float
    next_step: Step | None
    r_std: float
    d_std: float
    extrapolated: bool

    @property
    def w_std(self) -> float:
        """Deviation of w which follows from those of r and d by equation 5."""
        s = self.scaling
        return s.w * float(np.hypot(self.r_std / s.r, self.d_std / (2 * s.d)))


def equation5(c: float, r: float, d: float) -> float:
    """The ideal width sqrt(c / (r^2 d)), before rounding to whole channels."""
    return float(np.sqrt(c / (r * r * d)))


@dataclass(frozen=True)
class TinyFormula:
    """Resolution and depth as functions of c, each with its deviation; see the module's text."""

    r: Process
    d: Process

    @classmethod
    def fit(cls, rows: list[dict], base_macs: int | None = None, noise: float | None = None) -> 'TinyFormula':
        """Fit to the frontier's rows, which hold r, d, and c (or macs, where ``base_macs`` is given: c = macs / base_macs).

        Raises ValueError for fewer than five networks, for networks of one budget only, and for missing or NaN values.
        """
        c = [macs / base_macs for macs in column(rows, 'macs')] if base_macs else column(rows, 'c')
        r, d = column(rows, 'r'), column(rows, 'd')
        if len(rows) < 5:
            raise UserError(
                f'a frontier of {len(rows)} networks is too small to fit; it needs five or more (a larger share or sweep).'
            )
        if min(*c, *r, *d) <= 0:
            raise UserError('c, r and d of a frontier are positive numbers.')
        if max(c) < 1.2 * min(c):
            raise UserError(
                f'all networks of this frontier cost about the same (c from {min(c):.3g} to {max(c):.3g}): '
                'one budget says nothing about others; sample a band of budgets.'
            )
        return cls(Process.fit(np.log(c), r, noise), Process.fit(np.log(c), d, noise))

    @classmethod
    @cache
    def published(cls) -> 'TinyFormula':
        """The formula through TinyNet-A to E, with the authors' r and d and counted MACs."""
        names = [f'tinynet_{letter}' for letter in 'abcde']
        rows = [dict(r=PRESETS[n][1].r, d=PRESETS[n][1].d, macs=cost(preset(n)).macs) for n in names]
        return cls.fit(rows, cost(EFFICIENTNET_B0).macs, PUBLISHED_NOISE)

    @property
    def range(self) -> tuple[float, float]:
        """The cost ratios for which the formula was fitted, with a margin of 10 %."""
        return float(np.exp(min(self.r.x)) / MARGIN), float(np.exp(max(self.r.x)) * MARGIN)

    def predict(self, c) -> dict[str, np.ndarray]:
        """Mean and deviation at cost ratios ``c`` (n,): arrays r, d, r_std, d_std."""
        x = np.log(np.atleast_1d(np.asarray(c, dtype=float)))
        (r, r_std), (d, d_std) = self.r.predict(x), self.d.predict(x)
        return dict(r=r, d=d, r_std=r_std, d_std=d_std)

    def solve(
        self,
        budget: float,
        base: Arch | str = EFFICIENTNET_B0,
        meter: Meter | None = None,
        extrapolate: bool = False,
        classes: int = 1000,
    ) -> Solution:
        """The network for a budget of MACs, or of what ``meter`` counts.

        The formula is one of MACs. For another unit, c is first found for which the formula's network meets the budget, then w is
        solved in that unit; so the activations (or milliseconds) of TinyNet-D give back TinyNet-D, or a near one. Parameters
        do not always rise with MACs along the formula: of several networks with the budget's parameters, one is returned.
        Raises ValueError for a budget outside the fitted range (unless ``extrapolate``) and for one the base cannot reach.
        """
        if not 0 < budget < np.inf:
            raise UserError(f'a budget is a positive number, not {budget}.')
        base, macs = load_base(base), cost_meter('macs', classes)
        meter = meter or macs
        limits = EXTRAPOLATED if extrapolate else self.range
        if meter.unit == macs.unit:
            c = budget / macs.measure(base)
            self._refuse(budget, base, meter, limits, *(limit * macs.measure(base) for limit in limits))
            stairs = widths(base, *self._dimensions(c))
        else:
            c, w = self._ratio(budget, base, meter, limits, classes)
            stairs = widths(base, *self._dimensions(c), low=0.7 * w, high=1.4 * w)
        step, larger = solve(stairs, budget, meter)
        at = self.predict(c)
        outside = not self.range[0] <= c <= self.range[1]
        return Solution(
            base.name, c, step.scaling, step.arch, cost(step.arch, classes=classes), budget, meter.unit, step.achieved, larger,
            float(at['r_std'][0]), float(at['d_std'][0]), outside,
        )  # fmt: skip

    def _dimensions(self, c: float) -> tuple[float, float]:
        """r and d at c, in four decimals: what is printed is what is built.

        Outside the fitted range, where a process falls back to its mean of zero, they stay inside what the paper explores.
        """
        at = self.predict(c)
        r, d = float(at['r'][0]), float(at['d'][0])
        if not self.range[0] <= c <= self.range[1]:
            r, d = np.clip((r, d), *BOUNDS).tolist()
        return round(r, 4), round(d, 4)

    def _ratio(self, budget: float, base: Arch, meter: Meter, limits: tuple[float, float], classes: int) -> tuple[float, float]:
        """(c, w) of the formula's network whose cost in the meter's unit comes nearest to the budget from below."""
        macs = cost_meter('macs', classes)
        base_macs = macs.measure(base)

        @cache
        def network(index: int) -> tuple[float, Step]:
            c = float(np.exp(index * 4 * meter.grid))
            return c, nearest(widths(base, *self._dimensions(c)), c * base_macs, macs)[0]

        @cache
        def measured(index: int) -> float:
            return meter.measure(network(index)[1].arch)

        low, high = (round(np.log(limit) / (4 * meter.grid)) for limit in limits)
        self._refuse(budget, base, meter, limits, measured(low) / MARGIN, measured(high) * MARGIN)  # w makes up for the last 10 %
        c, step = network(int(last_below(lambda index: measured(int(index)), budget, low, high)))
        return c, step.value

    def _refuse(self, budget: float, base: Arch, meter: Meter, limits: tuple[float, float], low: float, high: float) -> None:
        """ValueError for a budget outside ``low`` to ``high``, what networks cost at the cost ratios ``limits``."""
        if low <= budget <= high:
            return
        ends, advice = f'{meter.text(low)} to {meter.text(high)} for {base.name}', 'take a budget inside it'
        if limits == EXTRAPOLATED:
            raise UserError(f'{meter.text(budget)} is too far to extrapolate, which ends at {ends}; {advice}, or another base.')
        raise UserError(
            f'{meter.text(budget)} is outside the range of this formula, {ends}; {advice}, or allow to extrapolate '
            '(--extrapolate, in Python extrapolate=True), which no trained network supports.'
        )

    def save(self, path: str | Path) -> Path:
        """Write points and hyperparameters as JSON atomically; returns the path."""
        return write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> 'TinyFormula':
        """Read a formula that :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: the file is not JSON, or not a complete formula.
        """
        table = read_json(path)
        try:
            return cls(*(Process.from_dict(table[name]) for name in 'rd'))
        except (KeyError, TypeError) as error:
            raise UserError(f'{path} is not a complete formula ({error}); fit and save it again.') from None

"""The tiny formula: from a budget to resolution, depth and width.

TinyNet (NeurIPS 2020), section 3.2: resolution and depth are the means of Gaussian processes over the cost ratio c to the base,
fitted to the best networks of a sweep (equations 1 to 4). Width then meets the budget (equation 5, solved on real costs by
:mod:`tinynet_mm.formula.solve`). If no width is within 1 % of it, r and d are moved within their uncertainty
(:mod:`tinynet_mm.formula.near`). ``TinyFormula.published()`` is fitted to the five published TinyNets, since the paper's sweep is
not published: at their costs it interpolates, and predicts nothing.
"""

import dataclasses
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..archs import EFFICIENTNET_B0, PRESETS, Arch, Scaling, preset
from ..cost import Cost, cost
from ..errors import UserError
from ..files import read_json, to_number, write_json
from .bases import load_base
from .near import CLOSE, closest, miss
from .process import Process
from .rows import column
from .sampling import BOUNDS
from .solve import WIDTHS, Meter, Step, cost_meter, last_below, nearest, refuse_far, widths

MARGIN = 1.1  # extends the fitted range beyond its outermost networks: the paper's c = 0.06 is the 0.063 of TinyNet-E
EXTRAPOLATED = (0.005, 4.0)
PUBLISHED_NOISE = 0.005  # the published r and d are the formula's output, rounded to steps of 0.005


@dataclass(frozen=True)
class Solution:
    """A network for a budget.

    ``c`` is the cost ratio at which r and d are ``predicted``; ``r_std`` and ``d_std`` are their deviations (see
    :meth:`TinyFormula.predict`). ``budget`` and ``achieved`` are in ``unit``. ``next_step`` is the next wider network, if there
    is one. ``protocol`` says what was measured.
    """

    base: str
    c: float
    predicted: tuple[float, float]
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
    protocol: str = ''

    @property
    def w_std(self) -> float:
        """Standard deviation of w, from those of r and d by equation 5."""
        s = self.scaling
        return float(s.w * np.hypot(self.r_std / s.r, self.d_std / (2 * s.d)))


def equation5(c: float, r: float, d: float) -> float:
    """The ideal width sqrt(c / (r^2 d)), before rounding to integer channels."""
    return float(np.sqrt(c / (r * r * d)))


@dataclass(frozen=True)
class TinyFormula:
    """Resolution and depth as functions of log c, each with its standard deviation; see the module's docstring."""

    r: Process
    d: Process

    @classmethod
    def fit(cls, rows: list[dict], base_macs: int | None = None, noise: float | None = None) -> 'TinyFormula':
        """Fit to the networks of a front.

        Args:
            rows: rows with r, d and c, or with r, d and macs if ``base_macs`` is given.
            base_macs: MACs of the base, for c = macs / base_macs.
            noise: standard deviation of r and d around the formula; estimated by default.

        Raises:
            UserError: fewer than five networks, networks of one budget only, or missing or non-finite values.
        """
        c = [macs / base_macs for macs in column(rows, 'macs')] if base_macs else column(rows, 'c')
        r, d = column(rows, 'r'), column(rows, 'd')
        if len(rows) < 5:
            raise UserError(
                f'a frontier of {len(rows)} networks is too small for a fit; give five or more (a larger share or sweep).'
            )
        if min(*c, *r, *d) <= 0:
            raise UserError('c, r and d of a frontier must be positive; correct or drop the other rows.')
        if max(c) < 1.2 * min(c):
            raise UserError(
                f'all networks of this frontier cost about the same (c from {min(c):.3g} to {max(c):.3g}): '
                'one budget says nothing about others; sample a band of budgets.'
            )
        return cls(Process.fit(np.log(c), r, noise), Process.fit(np.log(c), d, noise))

    @classmethod
    @cache
    def published(cls) -> 'TinyFormula':
        """The formula fitted to TinyNet-A to E, with the authors' r and d and counted MACs."""
        names = [f'tinynet_{letter}' for letter in 'abcde']
        rows = [dict(r=PRESETS[n][1].r, d=PRESETS[n][1].d, macs=cost(preset(n)).macs) for n in names]
        return cls.fit(rows, cost(EFFICIENTNET_B0).macs, PUBLISHED_NOISE)

    @property
    def range(self) -> tuple[float, float]:
        """The least and the largest cost ratio of the fitted networks, with a margin of 10 %."""
        return float(np.exp(min(self.r.x)) / MARGIN), float(np.exp(max(self.r.x)) * MARGIN)

    def predict(self, c: ArrayLike) -> dict[str, np.ndarray]:
        """Means and deviations at cost ratios ``c`` (n,): arrays (n,) r, d, r_std and d_std.

        A deviation is the root mean square of the held-out errors of the fitted networks, or the standard deviation of the
        process where this is larger, as it is far outside them.
        """
        x = np.log(np.atleast_1d(np.asarray(c, dtype=float)))
        (r, r_std), (d, d_std) = self.r.predict(x), self.d.predict(x)
        return dict(r=r, d=d, r_std=np.maximum(r_std, self.r.error), d_std=np.maximum(d_std, self.d.error))

    def solve(
        self,
        budget: float,
        base: Arch | str = EFFICIENTNET_B0,
        meter: Meter | None = None,
        extrapolate: bool = False,
        classes: int = 1000,
    ) -> Solution:
        """The network for a budget of MACs, or in the unit of ``meter``.

        The formula predicts from MACs. For another unit, the solver first finds the c at which the formula's network meets the
        budget, and then solves w in that unit. So the activations (or milliseconds) of TinyNet-D give TinyNet-D, or a similar
        network. Parameters do not always rise with MACs along the formula: of several solutions, one is returned.

        Args:
            budget: cost of one image, in MACs or in the unit of ``meter``.
            base: a base network, its name, or the path of a JSON file.
            meter: counts or measures the cost; MACs by default.
            extrapolate: accept budgets outside the fitted range.
            classes: outputs of the classifier, which is part of the cost.

        Raises:
            UserError: a budget outside the fitted range (unless ``extrapolate``), or one that the base cannot meet.
        """
        if not 0 < to_number(budget) < np.inf:
            raise UserError(f'the budget {str(budget)[:40]} is not a positive, finite number; give one like 75e6 MACs.')
        base, macs = load_base(base), cost_meter('macs', classes)
        meter = meter or macs
        limits = EXTRAPOLATED if extrapolate else self.range
        if meter.unit == macs.unit:
            c, ends = budget / macs.measure(base), WIDTHS
            self._refuse(budget, base, meter, limits, *(limit * macs.measure(base) for limit in limits))
        else:
            c, w = self._ratio(budget, base, meter, limits, classes)
            ends = 0.7 * w, 1.4 * w
        predicted = self._dimensions(c)
        at = {name: float(values[0]) for name, values in self.predict(c).items()}
        stairs = widths(base, *predicted, *ends)
        step, larger = nearest(stairs, budget, meter)
        if not meter.protocol and miss(step, budget) > CLOSE:  # a measured time is not known to 1 %
            step, larger = closest(base, predicted, (at['r_std'], at['d_std']), ends, budget, meter)
        refuse_far(stairs, step, larger, budget, meter)
        outside = not self.range[0] <= c <= self.range[1]
        return Solution(
            base.name, c, predicted, step.scaling, step.arch, cost(step.arch, classes=classes), budget, meter.unit, step.achieved,
            larger, at['r_std'], at['d_std'], outside, meter.protocol,
        )  # fmt: skip

    def _dimensions(self, c: float) -> tuple[float, float]:
        """Predict r and d at c, rounded to four decimals, so that the printed values build the same network.

        Outside the fitted range they are clipped to the range of the paper.
        """
        at = self.predict(c)
        r, d = float(at['r'][0]), float(at['d'][0])
        if not self.range[0] <= c <= self.range[1]:
            r, d = np.clip((r, d), *BOUNDS).tolist()
        return round(r, 4), round(d, 4)

    def _ratio(self, budget: float, base: Arch, meter: Meter, limits: tuple[float, float], classes: int) -> tuple[float, float]:
        """(c, w) of the formula's network with the largest cost in the meter's unit that is not above the budget."""
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
        self._refuse(budget, base, meter, limits, measured(low) / MARGIN, measured(high) * MARGIN)  # w covers the last 10 %
        c, step = network(int(last_below(lambda index: measured(int(index)), budget, low, high)))
        return c, step.value

    def _refuse(self, budget: float, base: Arch, meter: Meter, limits: tuple[float, float], low: float, high: float) -> None:
        """Raise UserError for a budget outside ``low`` to ``high``, the costs of networks at the cost ratios ``limits``."""
        if low <= budget <= high:
            return
        ends = f'{meter.text(low)} to {meter.text(high)} for {base.name}{meter.conditions}'
        advice = 'give a budget inside it'
        if limits == EXTRAPOLATED:
            raise UserError(f'{meter.text(budget)} is outside the range of extrapolation, {ends}; {advice}, or another base.')
        raise UserError(
            f'{meter.text(budget)} is outside the range of this formula, {ends}; {advice}, or allow extrapolation '
            '(--extrapolate, in Python extrapolate=True), which no trained network supports.'
        )

    def save(self, path: str | Path) -> Path:
        """Write points and hyperparameters as JSON atomically; returns the path.

        Raises:
            UserError: the file cannot be written.
        """
        return write_json(path, dataclasses.asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> 'TinyFormula':
        """Read a formula that :meth:`save` wrote.

        Raises:
            FileNotFoundError: the file is missing.
            UserError: the file is not JSON, or not a complete formula.
        """
        table = read_json(path)
        try:
            return cls(*(Process.from_dict(table[name]) for name in 'rd'))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f'{path} is not a complete formula ({error}); fit and save it again.') from None

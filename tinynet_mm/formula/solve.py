"""Find the network for a budget by bisection over real costs.

TinyNet (NeurIPS 2020), equation 5: w = sqrt(c / (r^2 d)) is the ideal. After rounding to integer channels and blocks the cost is
a monotone step function of w (also of r, of d, and of the exponent of the compound scaling) with steps of up to 15 % of the
budget. The solver bisects, and returns the network with the cost it achieves. Values are on a grid, so that the printed values
build the same network. (For ResNet and GhostNet the cost falls slightly where a stage becomes as wide as the stem, since its
shortcut then needs no projection. A budget in this interval is crossed more than once; the solver returns one of the crossings.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..archs import Arch, Scaling, inverted_compound, scale
from ..cost import cost
from ..errors import UserError
from .budget import amount

TOLERANCE = 0.03  # how far above the budget a network may be: section 3.1 accepts a difference of 3 %
WIDTHS = (0.05, 6.0)


@dataclass(frozen=True)
class Meter:
    """A unit of cost: ``measure`` returns a network's cost, which rises with its size; ``grid`` is the step of the width.

    ``protocol`` says what is measured and how, for a unit that depends on it.
    """

    unit: str
    measure: Callable[[Arch], float]
    grid: float = 0.001
    protocol: str = ''

    def text(self, value: float) -> str:
        """A cost with the unit, for messages."""
        return amount(value, self.unit)

    @property
    def conditions(self) -> str:
        """The protocol as the end of a clause, for messages; empty without one."""
        return f' ({self.protocol})' if self.protocol else ''


def cost_meter(quantity: str = 'macs', classes: int = 1000) -> Meter:
    """A meter of ``macs``, ``params`` or ``activations`` of the classifier with ``classes`` classes.

    Raises:
        UserError: another quantity, or less than one class.
    """
    names = dict(macs='MACs', params='parameters', activations='activations')
    if quantity not in names:
        raise UserError(f'unknown quantity {quantity!r}; a budget is one of {", ".join(names)}.')
    if classes < 1:
        raise UserError(f'classes={classes}: a classifier needs one class or more.')
    return Meter(names[quantity], lambda arch: getattr(cost(arch, classes=classes), quantity))


@dataclass(frozen=True)
class Step:
    """One step of a :class:`Staircase`: the value of the free dimension, the network, and its cost in the budget's unit."""

    value: float
    scaling: Scaling
    arch: Arch
    achieved: float


@dataclass(frozen=True)
class Staircase:
    """The networks of one free dimension ``name`` from ``low`` to ``high``, by rising cost; ``make`` returns the scaling."""

    base: Arch
    name: str
    make: Callable[[float], Scaling]
    low: float
    high: float

    def arch(self, value: float) -> Arch:
        """The network at a value of the free dimension."""
        return scale(self.base, self.make(value))


def widths(
    base: Arch, r: float, d: float, low: float = WIDTHS[0], high: float = WIDTHS[1], fixed_ends: bool | None = None
) -> Staircase:
    """Width free, resolution and depth given: the last step of the tiny formula; stem and head as in :func:`keeps_ends`."""
    fixed = keeps_ends(base) if fixed_ends is None else fixed_ends
    return Staircase(base, 'w', lambda w: Scaling(r=r, w=w, d=d, fixed_ends=fixed), low, high)


def keeps_ends(base: Arch) -> bool:
    """Whether stem and head keep the width of the base, as in TinyNet.

    In a GhostNet they are scaled: those of GhostNet-A have 3.8 M parameters, but the paper's GhostNet-D has 2.6 M in total.
    """
    return base.family != 'ghostnet'


def giant(base: Arch) -> Staircase:
    """The inverted giant formula (section 4.1, EfficientNet-B-phi); the free value is -t, zero for the base."""
    return Staircase(base, '-t', lambda x: inverted_compound(-x), -16.0, 0.0)


def single(base: Arch, dimension: str) -> Staircase:
    """One of r, d and w is free (Table 1); stem and head as in :func:`keeps_ends`.

    Raises:
        UserError: another dimension.
    """
    if dimension not in ('r', 'd', 'w'):
        raise UserError(f'unknown dimension {dimension!r}; shrink one of r, d or w.')
    ones, ends = dict.fromkeys('rwd', 1.0), keeps_ends(base)

    def make(value: float) -> Scaling:
        at = ones | {dimension: value}
        return Scaling(at['r'], at['w'], at['d'], ends)

    return Staircase(base, dimension, make, 0.05, 1.0)


def last_below(
    cost_of: Callable[[np.ndarray], ArrayLike], target: float | np.ndarray, low: ArrayLike, high: ArrayLike
) -> np.ndarray:
    """The largest integer from ``low`` whose cost is not above ``target``, by bisection; the cost at ``high`` must be above.

    ``cost_of`` maps an array of integers to rising costs. ``target``, ``low`` and ``high`` are numbers, or arrays of one shape
    for many bisections at once; the result has this shape.
    """
    low, high = np.asarray(low), np.asarray(high)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        above = np.asarray(cost_of(middle)) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return low


def nearest(stairs: Staircase, budget: float, meter: Meter | None = None) -> tuple[Step, Step | None]:
    """The network nearest to the budget and at most 3 % above it, and the next larger one if there is one.

    Where all networks cost more (less) than the budget it is the smallest (largest) one.
    """
    meter = meter or cost_meter()
    measured: dict[Arch, float] = {}

    def step(index: int | np.ndarray) -> Step:
        value = round(float(index) * meter.grid, 6)
        arch = stairs.arch(value)
        if arch not in measured:
            measured[arch] = meter.measure(arch)
        return Step(value, stairs.make(value), arch, measured[arch])

    ends = round(stairs.low / meter.grid), round(stairs.high / meter.grid)
    first, last = step(ends[0]), step(ends[1])
    if first.achieved > budget:
        return first, None
    if last.achieved <= budget:
        return last, None
    index = int(last_below(lambda i: step(i).achieved, budget, *ends))
    below, above = step(index), step(index + 1)
    if above.achieved - budget < min(budget - below.achieved, TOLERANCE * budget):
        return _tidy(stairs, above, meter), None
    return _tidy(stairs, below, meter), _tidy(stairs, above, meter)


def solve(stairs: Staircase, budget: float, meter: Meter | None = None) -> tuple[Step, Step | None]:
    """As :func:`nearest`, but raises an error if no network is near the budget; see :func:`refuse_far`."""
    meter = meter or cost_meter()
    step, larger = nearest(stairs, budget, meter)
    refuse_far(stairs, step, larger, budget, meter)
    return step, larger


def refuse_far(stairs: Staircase, step: Step, larger: Step | None, budget: float, meter: Meter) -> None:
    """Check that the network ``step``, the nearest one of those found, is near the budget.

    Raises:
        UserError: all networks cost more or less than the budget; the message names the smallest (largest) cost.
    """
    s, reached = step.scaling, meter.text(step.achieved) + meter.conditions
    given = f'changing {stairs.name} (now r={s.r:g}, w={s.w:g}, d={s.d:g})'
    if step.achieved > (1 + TOLERANCE) * budget:
        raise UserError(
            f'{stairs.base.name} cannot shrink to {meter.text(budget)}: {given}, the smallest it reaches is {reached}. '
            'Give that budget or more, or take a base with fewer stages or a smaller stem and head.'
        )
    if larger is None and step.achieved < (1 - TOLERANCE) * budget:
        raise UserError(
            f'{stairs.base.name} cannot grow to {meter.text(budget)}: {given}, the largest it reaches is {reached}. '
            'Give that budget or less, or take a larger base.'
        )


def _tidy(stairs: Staircase, step: Step, meter: Meter) -> Step:
    """The same network with a rounded value: the middle of its step, with the fewest decimals that give this network."""
    low = high = round(step.value / meter.grid)
    while low * meter.grid > stairs.low and stairs.arch(round((low - 1) * meter.grid, 6)) == step.arch:
        low -= 1
    while high * meter.grid < stairs.high and stairs.arch(round((high + 1) * meter.grid, 6)) == step.arch:
        high += 1
    middle = (low + high) / 2 * meter.grid
    rounded = (round(middle, digits) for digits in (2, 3, 4))
    value = next((v for v in rounded if stairs.arch(v) == step.arch), step.value)
    return Step(value, stairs.make(value), step.arch, step.achieved)

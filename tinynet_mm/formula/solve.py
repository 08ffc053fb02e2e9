"""Meet a budget on the real staircase of costs.

TinyNet (NeurIPS 2020), equation 5: w = sqrt(c / (r^2 d)) is the ideal. After rounding to whole channels and blocks the cost is
a monotone staircase in w (as it is in r, in d, and in the exponent of the compound scaling) with steps of up to 15 % of the
budget, so the solver bisects, and returns the network it found with the cost it achieved. Values are on a grid: what is printed
is what is built. (A ResNet's or GhostNet's staircase has a dent where a stage gets as wide as the stem and its shortcut needs no
projection; at a budget inside the dent, one of the crossings is found.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..archs import Arch, Scaling, inverted_compound, scale
from ..cost import cost
from ..errors import UserError
from .budget import amount

TOLERANCE = 0.03  # how far above the budget a network may lie: section 3.1 accepts a difference of 3 %
WIDTHS = (0.05, 6.0)


@dataclass(frozen=True)
class Meter:
    """What a budget counts: ``measure`` gives a network's cost, rising with its size; ``grid`` is the step of the width."""

    unit: str
    measure: Callable[[Arch], float]
    grid: float = 0.001

    def text(self, value: float) -> str:
        return amount(value, self.unit)


def cost_meter(quantity: str = 'macs', classes: int = 1000) -> Meter:
    """A meter of ``macs``, ``params`` or ``activations`` of the classifier with ``classes`` classes."""
    names = dict(macs='MACs', params='parameters', activations='activations')
    if quantity not in names:
        raise UserError(f'a budget counts {", ".join(names)}, not {quantity!r}.')
    if classes < 1:
        raise UserError(f'classes={classes}: a classifier has one class or more.')
    return Meter(names[quantity], lambda arch: getattr(cost(arch, classes=classes), quantity))


@dataclass(frozen=True)
class Step:
    """One step of a staircase: the value of the free dimension, the network, and its cost in the budget's unit."""

    value: float
    scaling: Scaling
    arch: Arch
    achieved: float


@dataclass(frozen=True)
class Staircase:
    """The networks of one free dimension ``name`` from ``low`` to ``high``, where ``make`` gives the scaling and cost rises."""

    base: Arch
    name: str
    make: Callable[[float], Scaling]
    low: float
    high: float

    def arch(self, value: float) -> Arch:
        return scale(self.base, self.make(value))


def widths(base: Arch, r: float, d: float, low: float = WIDTHS[0], high: float = WIDTHS[1]) -> Staircase:
    """Width free, resolution and depth given: the last step of the tiny formula.

    Stem and head keep their width, as in TinyNet; those of a GhostNet are scaled: GhostNet-A's own are 3.8 M parameters, and
    the paper's GhostNet-D has 2.6 M in all.
    """
    fixed_ends = base.family != 'ghostnet'
    return Staircase(base, 'w', lambda w: Scaling(r=r, w=w, d=d, fixed_ends=fixed_ends), low, high)


def giant(base: Arch) -> Staircase:
    """The inverted giant formula (section 4.1, EfficientNet-B-phi); the free value is -t, zero for the base."""
    return Staircase(base, '-t', lambda x: inverted_compound(-x), -16.0, 0.0)


def single(base: Arch, dimension: str) -> Staircase:
    """Shrink one of r, d, w alone (Table 1), stem and head kept."""
    if dimension not in ('r', 'd', 'w'):
        raise UserError(f'shrink one of r, d or w, not {dimension!r}.')
    return Staircase(base, dimension, lambda x: Scaling(**{dimension: x}), 0.05, 1.0)


def last_below(cost_of: Callable, target: float, low, high):
    """Largest integer from ``low`` whose cost is not above ``target``, given that the cost at ``high`` is; by bisection.

    ``cost_of`` maps integers to a rising staircase; ``low`` and ``high`` may be arrays, one staircase an entry.
    """
    low, high = np.asarray(low), np.asarray(high)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        above = np.asarray(cost_of(middle)) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return low


def nearest(stairs: Staircase, budget: float, meter: Meter | None = None) -> tuple[Step, Step | None]:
    """The network nearest to the budget, at most 3 % above it, and the next larger one where there is one.

    At the ends of the staircase it is the smallest (largest) network, however far from the budget.
    """
    meter = meter or cost_meter()
    seen: dict[Arch, float] = {}

    def step(index: int) -> Step:
        value = round(float(index) * meter.grid, 6)
        arch = stairs.arch(value)
        if arch not in seen:
            seen[arch] = meter.measure(arch)
        return Step(value, stairs.make(value), arch, seen[arch])

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
    """As :func:`nearest`, but a ValueError names the smallest (largest) cost where the staircase ends short of the budget."""
    meter = meter or cost_meter()
    step, larger = nearest(stairs, budget, meter)
    s, reached = step.scaling, meter.text(step.achieved)
    given = f'changing {stairs.name} (now r={s.r:g}, w={s.w:g}, d={s.d:g})'
    if step.achieved > (1 + TOLERANCE) * budget:
        raise UserError(
            f'{stairs.base.name} cannot shrink to {meter.text(budget)}: {given}, the smallest it reaches is {reached}. '
            'Ask for that or more, or take a base with fewer stages or a smaller stem and head.'
        )
    if larger is None and step.value >= stairs.high and step.achieved < (1 - TOLERANCE) * budget:
        raise UserError(
            f'{stairs.base.name} cannot grow to {meter.text(budget)}: {given}, the largest it reaches is {reached}. '
            'Ask for that or less, or take a larger base.'
        )
    return step, larger


def _tidy(stairs: Staircase, step: Step, meter: Meter) -> Step:
    """The same network by the roundest value on its step: the middle, with as few decimals as stay on the step."""
    low = high = round(step.value / meter.grid)
    while low * meter.grid > stairs.low and stairs.arch(round((low - 1) * meter.grid, 6)) == step.arch:
        low -= 1
    while high * meter.grid < stairs.high and stairs.arch(round((high + 1) * meter.grid, 6)) == step.arch:
        high += 1
    middle = (low + high) / 2 * meter.grid
    rounded = (round(middle, digits) for digits in (2, 3, 4))
    value = next((v for v in rounded if stairs.arch(v) == step.arch), step.value)
    return Step(value, stairs.make(value), step.arch, step.achieved)

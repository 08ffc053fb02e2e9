"""Scaling of a base table by (r, w, d), and the rounding of widths and repeats.

TinyNet (NeurIPS 2020), section 3.2; the inverted compound scaling of section 4.1. Widths are rounded as in timm and in the
authors' code. All functions accept NumPy arrays, so that many candidates are one call.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .records import FAMILIES, Arch, Scaling, Stage

# rounding of the inner widths as in timm and, for GhostNet, as in the authors' code
INNER_DIVISORS = {block: family.inner_divisor for family in FAMILIES.values() for block in family.blocks}

# An int for one network; an int array where r, w or d is an array. `Any` lets callers with one network use it as an int.
Integers = int | Any


def divisible(value: float | np.ndarray, divisor: int = 8, floor: float = 0.9) -> Integers:
    """The multiple of ``divisor`` nearest to ``value``, at least one ``divisor`` and never below ``floor * value``."""
    value = np.asarray(value, dtype=np.float64)
    rounded = np.maximum(divisor, (value + divisor / 2).astype(np.int64) // divisor * divisor)
    rounded = rounded + divisor * (rounded < floor * value)
    return rounded if rounded.ndim else int(rounded)


def inner_channels(stage: Stage, inputs: Integers) -> Integers:
    """Width between the convolutions of a block with ``inputs`` input channels."""
    outer = stage.channels if stage.block == 'bottleneck' else inputs
    return divisible(outer * stage.expansion, INNER_DIVISORS[stage.block])


def reduced_channels(stage: Stage, inputs: Integers) -> Integers:
    """Width inside the squeeze-excite of a block with ``inputs`` input channels.

    In EfficientNet it is a ratio of the block's input, rounded half to even as Python does. In GhostNet it is a ratio of the
    inner width, rounded to a multiple of 4.
    """
    if stage.block == 'ghost':
        return divisible(inner_channels(stage, inputs) * stage.se, INNER_DIVISORS['ghost'])
    return _integers(np.rint(np.asarray(inputs) * stage.se), floor=1)


def _integers(value: np.ndarray, floor: int = 0) -> Integers:
    value = np.maximum(value, floor).astype(np.int64)
    return value if value.ndim else int(value)


def scale(base: Arch, scaling: Scaling, name: str | None = None) -> Arch:
    """Scale a base table: input ``int(resolution * r)``, widths rounded by the base's divisor, repeats at least one.

    With ``fixed_ends`` the stem keeps its width, and the head keeps its width for w <= 1 and grows with w above 1, as in the
    authors' generator (``max(1280, 1280 w)`` features). Arrays in ``scaling`` give arrays in the table, see :class:`Arch`.
    """
    s, ends = scaling, 1.0 if scaling.fixed_ends else scaling.w
    to_integer = np.ceil if s.ceil_depth else np.rint

    def resize(stage: Stage) -> Stage:
        repeats = _integers(to_integer(stage.repeats * np.asarray(s.d)), floor=1)
        return replace(stage, channels=divisible(stage.channels * np.asarray(s.w), base.divisor), repeats=repeats)

    def end(width: int, factor: float | np.ndarray) -> Integers:
        return divisible(width * np.asarray(factor), base.divisor) if width else 0

    resolution = _integers(base.resolution * np.asarray(s.r), floor=1)
    head = end(base.head, np.maximum(1.0, s.w) if s.fixed_ends else ends)
    stem, hidden, stages = end(base.stem, ends), end(base.hidden, ends), tuple(map(resize, base.stages))
    name = name or base.name
    return replace(base, name=name, resolution=resolution, stem=stem, stages=stages, head=head, hidden=hidden)


def inverted_compound(t: float) -> Scaling:
    """EfficientNet's compound scaling with a negative exponent: d = 1.2^-t, w = 1.1^-t, r = 1.15^-t; stem and head scale too."""
    return Scaling(r=1.15**-t, w=1.1**-t, d=1.2**-t, fixed_ends=False)

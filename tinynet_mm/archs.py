"""Architectures as tables: base networks, the scaling (r, w, d), and the presets made from both.

TinyNet (NeurIPS 2020), section 3.2: every network here is a base table scaled in resolution (r), width (w) and depth (d).
Sources of the constants: EfficientNet-B0 from table 1 of Tan and Le (2019); (r, w, d) of TinyNet-A to E from the authors'
published code; EfficientNet-B-1 to B-4 by the inverted compound scaling of section 4.1, with the exponent solved for the paper's
FLOPs. Nothing here needs torch, and every function also takes NumPy arrays for r, w and d, so that a million candidates are
one call (see :mod:`tinynet_mm.cost`).
"""

import dataclasses
import difflib
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Scaling:
    """Multipliers of resolution, width and depth; floats, or arrays of equal length for many candidates at once.

    ``fixed_ends`` keeps the stem and the head at the base's width, as TinyNet does (EfficientNet scales them).
    ``ceil_depth`` rounds repeats up, as EfficientNet-B1 to B7 do; TinyNet rounds to the nearest, never below one.
    """

    r: float = 1.0
    w: float = 1.0
    d: float = 1.0
    fixed_ends: bool = True
    ceil_depth: bool = False

    def __post_init__(self):
        for name in 'rwd':
            value = np.asarray(getattr(self, name))
            if not (np.issubdtype(value.dtype, np.number) and np.all(np.isfinite(value)) and np.all(value > 0)):
                raise ValueError(f'{name}={getattr(self, name)!r}: the multipliers r, w and d are positive numbers, like 0.5 or 1.2.')


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; the first has the stride, the others stride 1. ``se`` is the squeeze-excite ratio, 0 for none."""

    block: str
    channels: int
    repeats: int = 1
    kernel: int = 3
    stride: int = 1
    expansion: float = 1
    se: float = 0.0


@dataclass(frozen=True)
class Arch:
    """A resolved network: what the backbone builds and what the cost counts.

    ``resolution`` is the side of the square input in pixels. ``head`` is the width of the 1x1 convolution behind the last stage and
    ``hidden`` that of the layer behind the pooling (GhostNet); 0 where the family has none. ``divisor`` rounds widths.
    """

    name: str
    family: str
    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: int = 0
    hidden: int = 0
    divisor: int = 8

    @classmethod
    def from_dict(cls, table: dict) -> 'Arch':
        """The inverse of ``dataclasses.asdict``: a base table of the user's own, for instance read from JSON."""
        try:
            stages = tuple(Stage(**stage) for stage in table['stages'])
            return cls(**{**table, 'stages': stages})
        except (KeyError, TypeError) as error:
            fields = ', '.join(f.name for f in dataclasses.fields(cls))
            raise ValueError(f'not a base table ({error}); it needs {fields}, and stages as a list of {Stage.__doc__}') from None


def divisible(value, divisor: int = 8, floor: float = 0.9):
    """Nearest multiple of ``divisor``, at least one of them and never below ``floor`` of ``value``; int or int array."""
    value = np.asarray(value, dtype=np.float64)
    rounded = np.maximum(divisor, (value + divisor / 2).astype(np.int64) // divisor * divisor)
    rounded = rounded + divisor * (rounded < floor * value)
    return rounded if rounded.ndim else int(rounded)


def _integers(value, floor: int = 0):
    value = np.maximum(np.asarray(value), floor).astype(np.int64)
    return value if value.ndim else int(value)


def scale(base: Arch, scaling: Scaling, name: str | None = None) -> Arch:
    """Scale a base table: input ``int(resolution * r)``, widths rounded by the base's divisor, repeats at least one."""
    s, ends = scaling, 1.0 if scaling.fixed_ends else scaling.w
    to_integer = np.ceil if s.ceil_depth else np.rint

    def resize(stage: Stage) -> Stage:
        repeats = _integers(to_integer(stage.repeats * np.asarray(s.d)), floor=1)
        return replace(stage, channels=divisible(stage.channels * np.asarray(s.w), base.divisor), repeats=repeats)

    def end(width: int):
        return divisible(width * np.asarray(ends), base.divisor) if width else 0

    resolution = _integers(base.resolution * np.asarray(s.r), floor=1)
    parts = dict(stem=end(base.stem), head=end(base.head), hidden=end(base.hidden))
    return replace(base, name=name or base.name, resolution=resolution, stages=tuple(map(resize, base.stages)), **parts)


EFFICIENTNET_B0 = Arch(
    name='efficientnet_b0', family='efficientnet', resolution=224, stem=32, head=1280,
    stages=(
        Stage('separable', 16, 1, kernel=3, stride=1, expansion=1, se=0.25),
        Stage('inverted', 24, 2, kernel=3, stride=2, expansion=6, se=0.25),
        Stage('inverted', 40, 2, kernel=5, stride=2, expansion=6, se=0.25),
        Stage('inverted', 80, 3, kernel=3, stride=2, expansion=6, se=0.25),
        Stage('inverted', 112, 3, kernel=5, stride=1, expansion=6, se=0.25),
        Stage('inverted', 192, 4, kernel=5, stride=2, expansion=6, se=0.25),
        Stage('inverted', 320, 1, kernel=3, stride=1, expansion=6, se=0.25),
    ),
)  # fmt: skip

BASES: dict[str, Arch] = {base.name: base for base in (EFFICIENTNET_B0,)}


def inverted_compound(t: float) -> Scaling:
    """EfficientNet's compound scaling run backwards: d = 1.2^-t, w = 1.1^-t, r = 1.15^-t, stem and head scaled too."""
    return Scaling(r=1.15**-t, w=1.1**-t, d=1.2**-t, fixed_ends=False)


def _giant(r: float, w: float, d: float) -> Scaling:
    return Scaling(r=r / 224, w=w, d=d, fixed_ends=False, ceil_depth=True)


# name -> (base, scaling). TinyNet: the authors' code. B1 to B7: the EfficientNet paper's published multipliers and input sizes.
PRESETS: dict[str, tuple[str, Scaling]] = {
    'tinynet_a': ('efficientnet_b0', Scaling(r=0.86, w=1.0, d=1.2)),
    'tinynet_b': ('efficientnet_b0', Scaling(r=0.84, w=0.75, d=1.1)),
    'tinynet_c': ('efficientnet_b0', Scaling(r=0.825, w=0.54, d=0.85)),
    'tinynet_d': ('efficientnet_b0', Scaling(r=0.68, w=0.54, d=0.695)),
    'tinynet_e': ('efficientnet_b0', Scaling(r=0.475, w=0.51, d=0.60)),
    'efficientnet_b0': ('efficientnet_b0', Scaling()),
    'efficientnet_b-1': ('efficientnet_b0', inverted_compound(1.20)),
    'efficientnet_b-2': ('efficientnet_b0', inverted_compound(2.40)),
    'efficientnet_b-3': ('efficientnet_b0', inverted_compound(3.85)),
    'efficientnet_b-4': ('efficientnet_b0', inverted_compound(5.40)),
    'efficientnet_b1': ('efficientnet_b0', _giant(240, 1.0, 1.1)),
    'efficientnet_b2': ('efficientnet_b0', _giant(260, 1.1, 1.2)),
    'efficientnet_b3': ('efficientnet_b0', _giant(300, 1.2, 1.4)),
    'efficientnet_b4': ('efficientnet_b0', _giant(380, 1.4, 1.8)),
    'efficientnet_b5': ('efficientnet_b0', _giant(456, 1.6, 2.2)),
    'efficientnet_b6': ('efficientnet_b0', _giant(528, 1.8, 2.6)),
    'efficientnet_b7': ('efficientnet_b0', _giant(600, 2.0, 3.1)),
}


def preset(name: str) -> Arch:
    """The network of a preset's name, or a ValueError with the nearest names."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name.lower(), PRESETS, n=3, cutoff=0.3)
        hint = f'; did you mean {" or ".join(near)}?' if near else ''
        raise ValueError(f'unknown architecture {name!r}{hint} Known: {", ".join(PRESETS)}.')
    base, scaling = PRESETS[name]
    return scale(BASES[base], scaling, name)


def resolve(arch: 'str | dict | Arch', base: str = 'efficientnet_b0') -> Arch:
    """An Arch from a preset's name, from ``dict(r=, w=, d=, base=...)`` (fields of :class:`Scaling`), or from a whole table."""
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        return preset(arch)
    if not isinstance(arch, dict):
        raise ValueError(f'arch is a name, a dict of r, w and d, or a table, not {arch!r}.')
    if 'stages' in arch:
        return Arch.from_dict(arch)
    known = {f.name for f in dataclasses.fields(Scaling)} | {'base'}
    if unknown := sorted(set(arch) - known):
        raise ValueError(f'unknown key {unknown[0]!r} in arch; it takes {", ".join(sorted(known))}.')
    scaling = Scaling(**{k: v for k, v in arch.items() if k != 'base'})
    name = arch.get('base', base)
    if name not in BASES:
        raise ValueError(f'unknown base {name!r}; known: {", ".join(BASES)}.')
    return scale(BASES[name], scaling, f'{name}(r={scaling.r:g}, w={scaling.w:g}, d={scaling.d:g})')

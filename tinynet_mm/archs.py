"""Architectures as tables: base networks, the scaling (r, w, d), and the presets made from both.

TinyNet (NeurIPS 2020), section 3.2: every network here is a base table scaled in resolution (r), width (w) and depth (d).
Sources of the constants: EfficientNet-B0 from table 1 of Tan and Le (2019); ResNets from table 1 of He et al. (2016), with the
stride in the 3x3 convolution as torchvision has it; GhostNet-A from table 7 of the TinyNet paper, GhostNet-1.0x from table 1 of
Han et al. (2020); (r, w, d) of TinyNet-A to E from the authors' published code; EfficientNet-B-1 to B-4 by the inverted compound
scaling of section 4.1, with the exponent solved for the paper's FLOPs. What is published nowhere is solved by
:mod:`tinynet_mm.paper.inferred` and named in :data:`INFERRED`. Nothing here needs torch, and every function also takes NumPy
arrays for r, w and d, so that a million candidates are one call (see :func:`tinynet_mm.cost.scaled_cost`).
"""

import dataclasses
from dataclasses import dataclass, replace

import numpy as np

from .errors import UserError, did_you_mean


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
                raise UserError(
                    f'{name}={getattr(self, name)!r}: the multipliers r, w and d are positive numbers, like 0.5 or 1.2.'
                )


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; the first has the stride, the others stride 1. ``channels`` is the width of their output.

    ``expansion`` is the ratio of a block's inner width to its input (to its output in a ResNet's bottleneck). ``se`` is the
    squeeze-excite ratio, 0 for none. A ``joined`` run belongs to the level of the run before it (GhostNet mixes blocks).
    """

    block: str
    channels: int
    repeats: int = 1
    kernel: int = 3
    stride: int = 1
    expansion: float = 1
    se: float = 0.0
    joined: bool = False


@dataclass(frozen=True)
class Arch:
    """A resolved network: what the backbone builds and what the cost counts.

    ``resolution`` is the side of the square input in pixels. ``head`` is the width of the 1x1 convolution behind the last stage
    and ``hidden`` that of the layer behind the pooling (GhostNet); 0 where the family has none. ``divisor`` rounds widths. The
    stem is a convolution of stride 2, ``stem_kernel`` wide; with ``stem_pool`` a 3x3 max-pooling of stride 2 follows (ResNet).
    ``activation`` is one of :data:`ACTIVATIONS`, empty for that of the family.
    """

    name: str
    family: str
    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: int = 0
    hidden: int = 0
    divisor: int = 8
    stem_kernel: int = 3
    stem_pool: bool = False
    activation: str = ''

    @property
    def levels(self) -> tuple[tuple[Stage, ...], ...]:
        """The runs of each level, in order: what ``out_indices`` counts. A level is one run, or several that are joined."""
        starts = [i for i, stage in enumerate(self.stages) if i == 0 or not stage.joined]
        return tuple(self.stages[i:j] for i, j in zip(starts, [*starts[1:], len(self.stages)]))

    @classmethod
    def from_dict(cls, table: dict) -> 'Arch':
        """The inverse of ``dataclasses.asdict``: a base table of the user's own, for instance read from JSON."""
        try:
            arch = cls(**{**table, 'stages': tuple(Stage(**stage) for stage in table['stages'])})
        except (KeyError, TypeError) as error:
            of_arch, of_stage = (', '.join(f.name for f in dataclasses.fields(c)) for c in (cls, Stage))
            raise UserError(f'not a base table ({error}); it takes {of_arch}, and for each of its stages {of_stage}.') from None
        arch._check()
        return arch

    def _check(self) -> None:
        """Raise UserError for a table that the model of its family does not build as it is."""
        family = FAMILIES.get(self.family)
        if family is None:
            raise UserError(f'unknown family {self.family!r} in the table; known: {", ".join(FAMILIES)}.')
        if not self.stages:
            raise UserError('a table needs at least one stage.')
        if min(self.resolution, self.stem, self.divisor) < 1 or min(self.head, self.hidden) < 0:
            raise UserError('resolution, stem and divisor of a table are 1 or more, head and hidden 0 or more.')
        if self.activation not in ('', *ACTIVATIONS):
            raise UserError(
                f'activation={self.activation!r}: known are {", ".join(ACTIVATIONS)}; leave it out for that of the family.'
            )
        if problem := family.problem(self):
            raise UserError(f'{problem}; a table of {self.family} cannot state it.')
        for index, stage in enumerate(self.stages):
            self._check_stage(index, stage, family)

    @staticmethod
    def _check_stage(index: int, stage: Stage, family: 'Family') -> None:
        if stage.block not in family.blocks:
            raise UserError(f'stage {index}: block {stage.block!r} is not of {family.name}; it has {", ".join(family.blocks)}.')
        if stage.joined and not family.joined:
            raise UserError(f'stage {index}: only the stages of a ghostnet are joined.')
        if stage.se and not family.se:
            raise UserError(
                f'stage {index}: se={stage.se:g}, and the blocks of {family.name} have no squeeze-excite; set it to 0.'
            )
        if stage.block in PLAIN_BLOCKS and stage.expansion != 1:
            raise UserError(
                f'stage {index}: a {stage.block} block has no inner width, so its expansion is 1, not {stage.expansion:g}.'
            )
        if min(stage.channels, stage.repeats, stage.stride, stage.expansion) <= 0 or stage.kernel % 2 != 1 or stage.se < 0:
            raise UserError(f'stage {index}: channels, repeats, stride and expansion are positive, the kernel is odd: {stage}.')


@dataclass(frozen=True)
class Family:
    """A kind of network: what its tables may state, and how it is built. Cost, models, configs and weights read this record.

    ``backbone`` is the registered type of the model, ``base`` the table that a config scales by default, ``recipe`` the ImageNet
    recipe of its configs. ``inner_divisor`` rounds the inner widths of its blocks. The other fields say whether a table may have
    another stem kernel than 3, a layer behind the pooling (``hidden``), a head, squeeze-excite and joined stages.
    """

    name: str
    backbone: str
    base: str
    blocks: tuple[str, ...]
    activation: str
    recipe: str
    inner_divisor: int = 8
    stem_pool: bool = False
    any_stem_kernel: bool = False
    head: bool = True
    hidden: bool = False
    se: bool = True
    joined: bool = False

    def problem(self, arch: Arch) -> str:
        """What a table states and this family does not build, empty if there is nothing."""
        if arch.stem_kernel != 3 and not self.any_stem_kernel:
            return f'stem_kernel={arch.stem_kernel}, and its stem is a 3x3 convolution'
        if arch.stem_kernel % 2 != 1:
            return f'stem_kernel={arch.stem_kernel} is not odd'
        if bool(arch.stem_pool) != self.stem_pool:
            return f'stem_pool={arch.stem_pool}, and its stem {"ends with" if self.stem_pool else "has no"} pooling'
        if arch.head and not self.head:
            return f'head={arch.head}, and it has no convolution behind the last stage'
        if arch.hidden and not (self.hidden and arch.head):
            return f'hidden={arch.hidden}, and a layer behind the pooling needs a GhostNet with a head'
        return ''


ACTIVATIONS = ('ReLU', 'ReLU6', 'SiLU', 'HSwish')
PLAIN_BLOCKS = ('separable', 'basic')  # without an inner width
FAMILIES = {
    family.name: family
    for family in (
        Family('efficientnet', 'ScaledEfficientNet', 'efficientnet_b0', ('separable', 'inverted'), 'SiLU', 'rmsprop'),
        Family(
            'resnet', 'ScaledResNet', 'resnet50', ('basic', 'bottleneck'), 'ReLU', 'sgd',
            stem_pool=True, any_stem_kernel=True, head=False, se=False,
        ),
        Family(
            'ghostnet', 'ScaledGhostNet', 'ghostnet_a', ('ghost',), 'ReLU', 'rmsprop',
            inner_divisor=4, hidden=True, joined=True,
        ),
    )
}  # fmt: skip
# rounding of the inner widths: that of timm, and of the GhostNet authors
INNER_DIVISORS = {block: family.inner_divisor for family in FAMILIES.values() for block in family.blocks}


def divisible(value, divisor: int = 8, floor: float = 0.9):
    """Nearest multiple of ``divisor``, at least one of them and never below ``floor`` of ``value``; int or int array."""
    value = np.asarray(value, dtype=np.float64)
    rounded = np.maximum(divisor, (value + divisor / 2).astype(np.int64) // divisor * divisor)
    rounded = rounded + divisor * (rounded < floor * value)
    return rounded if rounded.ndim else int(rounded)


def inner_channels(stage: Stage, inputs):
    """Width between the convolutions of a block that receives ``inputs`` channels."""
    outer = stage.channels if stage.block == 'bottleneck' else inputs
    return divisible(outer * stage.expansion, INNER_DIVISORS[stage.block])


def reduced_channels(stage: Stage, inputs):
    """Width inside squeeze-and-excite: of EfficientNet a ratio of the block's input, rounded half to even as Python does;
    of GhostNet a ratio of its inner width, a multiple of 4."""
    if stage.block == 'ghost':
        return divisible(inner_channels(stage, inputs) * stage.se, INNER_DIVISORS['ghost'])
    return _integers(np.rint(np.asarray(inputs) * stage.se), floor=1)


def _integers(value, floor: int = 0):
    value = np.maximum(np.asarray(value), floor).astype(np.int64)
    return value if value.ndim else int(value)


def scale(base: Arch, scaling: Scaling, name: str | None = None) -> Arch:
    """Scale a base table: input ``int(resolution * r)``, widths rounded by the base's divisor, repeats at least one.

    With ``fixed_ends`` the head keeps the base's width for w up to 1 and grows with w above, as in the authors' generator
    (``max(1280, 1280 w)`` features); the stem keeps its width.
    """
    s, ends = scaling, 1.0 if scaling.fixed_ends else scaling.w
    to_integer = np.ceil if s.ceil_depth else np.rint

    def resize(stage: Stage) -> Stage:
        repeats = _integers(to_integer(stage.repeats * np.asarray(s.d)), floor=1)
        return replace(stage, channels=divisible(stage.channels * np.asarray(s.w), base.divisor), repeats=repeats)

    def end(width: int, factor):
        return divisible(width * np.asarray(factor), base.divisor) if width else 0

    resolution = _integers(base.resolution * np.asarray(s.r), floor=1)
    head = end(base.head, np.maximum(1.0, s.w) if s.fixed_ends else ends)
    parts = dict(stem=end(base.stem, ends), head=head, hidden=end(base.hidden, ends))
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


def _resnet(name: str, block: str, widths: tuple[int, ...], repeats: tuple[int, ...], expansion: float = 1) -> Arch:
    rows = zip(widths, repeats, (1, 2, 2, 2))
    stages = tuple(Stage(block, width, n, kernel=3, stride=stride, expansion=expansion) for width, n, stride in rows)
    return Arch(name, 'resnet', resolution=224, stem=64, stages=stages, stem_kernel=7, stem_pool=True)


RESNETS = (
    _resnet('resnet18', 'basic', (64, 128, 256, 512), (2, 2, 2, 2)),
    _resnet('resnet34', 'basic', (64, 128, 256, 512), (3, 4, 6, 3)),
    _resnet('resnet50', 'bottleneck', (256, 512, 1024, 2048), (3, 4, 6, 3), expansion=0.25),
)

GHOSTNET_A = Arch(
    name='ghostnet_a', family='ghostnet', resolution=240, stem=28, head=1680, hidden=1400, divisor=4,
    stages=(
        Stage('ghost', 28, 1, kernel=5, stride=1, expansion=1, se=0.1),
        Stage('ghost', 44, 1, kernel=5, stride=2, expansion=3, se=0.1),
        Stage('ghost', 44, 1, kernel=5, stride=1, expansion=3, se=0.1),
        Stage('ghost', 72, 1, kernel=5, stride=2, expansion=3, se=0.1),
        Stage('ghost', 72, 2, kernel=5, stride=1, expansion=3, se=0.1),
        Stage('ghost', 140, 1, kernel=5, stride=2, expansion=6, se=0.1),
        Stage('ghost', 140, 3, kernel=5, stride=1, expansion=2.5, se=0.1),
        Stage('ghost', 196, 3, kernel=5, stride=1, expansion=6, se=0.1, joined=True),
        Stage('ghost', 280, 1, kernel=5, stride=2, expansion=6, se=0.1),
        Stage('ghost', 280, 5, kernel=5, stride=1, expansion=6, se=0.1),
    ),
)  # fmt: skip

GHOSTNET_100 = Arch(
    name='ghostnet_100', family='ghostnet', resolution=224, stem=16, head=960, hidden=1280, divisor=4,
    stages=(
        Stage('ghost', 16, 1, kernel=3, stride=1, expansion=1),
        Stage('ghost', 24, 1, kernel=3, stride=2, expansion=3),
        Stage('ghost', 24, 1, kernel=3, stride=1, expansion=3),
        Stage('ghost', 40, 1, kernel=5, stride=2, expansion=3, se=0.25),
        Stage('ghost', 40, 1, kernel=5, stride=1, expansion=3, se=0.25),
        Stage('ghost', 80, 1, kernel=3, stride=2, expansion=6),
        Stage('ghost', 80, 1, kernel=3, stride=1, expansion=2.5),
        Stage('ghost', 80, 2, kernel=3, stride=1, expansion=2.3, joined=True),
        Stage('ghost', 112, 2, kernel=3, stride=1, expansion=6, se=0.25, joined=True),
        Stage('ghost', 160, 1, kernel=5, stride=2, expansion=6, se=0.25),
        Stage('ghost', 160, 1, kernel=5, stride=1, expansion=6),
        Stage('ghost', 160, 1, kernel=5, stride=1, expansion=6, se=0.25, joined=True),
        Stage('ghost', 160, 1, kernel=5, stride=1, expansion=6, joined=True),
        Stage('ghost', 160, 1, kernel=5, stride=1, expansion=6, se=0.25, joined=True),
    ),
)  # fmt: skip

BASES: dict[str, Arch] = {base.name: base for base in (EFFICIENTNET_B0, *RESNETS, GHOSTNET_A, GHOSTNET_100)}


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
    **{base.name: (base.name, Scaling()) for base in (*RESNETS, GHOSTNET_A, GHOSTNET_100)},
    'resnet50_a': ('resnet50', Scaling(r=0.86, w=0.99, d=1.2)),
    'resnet50_b': ('resnet50', Scaling(r=0.84, w=0.77, d=1.04)),
    'ghostnet_b': ('ghostnet_a', Scaling(r=0.87, w=0.80, d=1.09, fixed_ends=False)),
    'ghostnet_c': ('ghostnet_a', Scaling(r=0.77, w=0.67, d=0.83, fixed_ends=False)),
    'ghostnet_d': ('ghostnet_a', Scaling(r=0.61, w=0.49, d=0.64, fixed_ends=False)),
}

# Published nowhere: solved for the paper's MACs and parameters by tinynet_mm.paper.inferred. Other (r, w, d) meet them as well.
INFERRED = frozenset({'resnet50_a', 'resnet50_b', 'ghostnet_b', 'ghostnet_c', 'ghostnet_d'})


def preset(name: str) -> Arch:
    """The network of a preset's name, or a ValueError with the nearest names."""
    if name not in PRESETS:
        raise UserError(f'unknown architecture {name!r}.{did_you_mean(name, PRESETS, cutoff=0.3)} Known: {", ".join(PRESETS)}.')
    base, scaling = PRESETS[name]
    return scale(BASES[base], scaling, name)


def resolve(arch: str | dict | Arch, base: str = 'efficientnet_b0', family: str | None = None) -> Arch:
    """An Arch from a preset's name, from ``dict(r=, w=, d=, base=...)`` (fields of :class:`Scaling`), or from a whole table.

    Raises:
        UserError: unknown name, key or base; or not of ``family``, where one is asked for.
    """
    found = _resolve(arch, base)
    if family and found.family != family:
        fitting = [name for name, (of, _) in PRESETS.items() if BASES[of].family == family]
        raise UserError(f'{found.name} is of the family {found.family}; here {family} is needed, such as {", ".join(fitting)}.')
    return found


def _resolve(arch: str | dict | Arch, base: str) -> Arch:
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        return preset(arch)
    if not isinstance(arch, dict):
        raise UserError(f'arch is a name, a dict of r, w and d, or a table, not {arch!r}.')
    if 'stages' in arch:
        return Arch.from_dict(arch)
    return _scaled(**{'base': base, **arch})


def _scaled(base: str, **fields) -> Arch:
    known = [f.name for f in dataclasses.fields(Scaling)]
    if unknown := sorted(set(fields) - set(known)):
        raise UserError(f'unknown key {unknown[0]!r} in arch; it takes base, {", ".join(known)}.')
    if base not in BASES:
        raise UserError(f'unknown base {base!r}; known: {", ".join(BASES)}.')
    scaling = Scaling(**fields)
    return scale(BASES[base], scaling, f'{base}(r={scaling.r:g}, w={scaling.w:g}, d={scaling.d:g})')

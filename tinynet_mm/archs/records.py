"""Records of the tables: scaling multipliers, stages, networks and families, with the checks of user-defined tables.

TinyNet (NeurIPS 2020), section 3.2: every network is a base table scaled in resolution (r), width (w) and depth (d).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import UserError

LARGEST = 1000  # multiplier


@dataclass(frozen=True)
class Scaling:
    """Multipliers of resolution, width and depth: floats, or arrays of one length for many candidates.

    ``fixed_ends`` keeps the stem and the head at the base's width, as TinyNet does (EfficientNet scales them).
    ``ceil_depth`` rounds repeats up, as EfficientNet-B1 to B7 do; TinyNet rounds to the nearest integer, never below one.

    Raises:
        UserError: a multiplier is not a positive number up to ``LARGEST``.
    """

    r: float | np.ndarray = 1.0
    w: float | np.ndarray = 1.0
    d: float | np.ndarray = 1.0
    fixed_ends: bool = True
    ceil_depth: bool = False

    def __post_init__(self) -> None:
        for name in 'rwd':
            value = np.asarray(getattr(self, name))
            if not (np.issubdtype(value.dtype, np.number) and np.all(value > 0) and np.all(value <= LARGEST)):
                allowed = f'the multipliers r, w and d are positive numbers up to {LARGEST}, like 0.5 or 1.2'
                raise UserError(f'{name}={getattr(self, name)!r}: {allowed}.')


@dataclass(frozen=True)
class Stage:
    """A sequence of equal blocks; the first block has the stride, the others have stride 1.

    ``channels`` is the width of each block's output. ``expansion`` is the ratio of a block's inner width to its input (to its
    output in a ResNet's bottleneck). ``se`` is the squeeze-excite ratio, 0 for none. A ``joined`` stage belongs to the level of
    the stage before it (GhostNet mixes blocks).
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
    """A resolved network: the backbone builds it and the cost counts it.

    ``resolution`` is the side of the square input in pixels. ``head`` is the width of the 1x1 convolution after the last stage
    and ``hidden`` the width of the layer after the pooling (GhostNet); 0 where the family has none. Widths are multiples of
    ``divisor``. The stem is a convolution of stride 2 with a kernel of ``stem_kernel`` pixels; with ``stem_pool`` a 3x3
    max-pooling of stride 2 follows (ResNet). ``activation`` is one of :data:`ACTIVATIONS`, empty for the family's default.

    The table of one network holds integers. :func:`~tinynet_mm.archs.scaling.scale` with arrays returns a table with integer
    arrays in their places, which only :mod:`tinynet_mm.cost` and :mod:`tinynet_mm.formula.sampling` accept.
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
        """The stages of each level, in order; ``out_indices`` of a backbone counts levels. Joined stages are one level."""
        starts = [i for i, stage in enumerate(self.stages) if i == 0 or not stage.joined]
        return tuple(self.stages[i:j] for i, j in zip(starts, [*starts[1:], len(self.stages)]))

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> 'Arch':
        """Build a user-defined base table from a dict (the inverse of ``dataclasses.asdict``), for instance from JSON.

        Raises:
            UserError: a field is missing or unknown, or the model of the family does not build what the table states.
        """
        try:
            arch = cls(**{**table, 'stages': tuple(Stage(**stage) for stage in table['stages'])})
        except (KeyError, TypeError) as error:
            of_arch, of_stage = (', '.join(f.name for f in dataclasses.fields(c)) for c in (cls, Stage))
            raise UserError(f'not a base table ({error}); its fields are {of_arch}, and for each stage {of_stage}.') from None
        arch._check()
        return arch

    def _check(self) -> None:
        """Raise UserError for a table that the model of its family does not build exactly."""
        _check_types(self, '')
        family = FAMILIES.get(self.family)
        if family is None:
            raise UserError(f'unknown family {self.family!r} in the table; known: {", ".join(FAMILIES)}.')
        if not self.stages:
            raise UserError('a table needs at least one stage.')
        for index, stage in enumerate(self.stages):
            _check_types(stage, f'stage {index}: ')
        if min(self.resolution, self.stem, self.divisor) < 1 or min(self.head, self.hidden) < 0:
            raise UserError('resolution, stem and divisor of a table are 1 or more, head and hidden 0 or more.')
        if self.activation not in ('', *ACTIVATIONS):
            raise UserError(
                f'unknown activation={self.activation!r}; known: {", ".join(ACTIVATIONS)}. Leave it out for the default of '
                f'{self.family}, {family.activation}.'
            )
        if problem := family.problem(self):
            raise UserError(f'{problem}; correct this field of the {self.family} table.')
        for index, stage in enumerate(self.stages):
            self._check_stage(index, stage, family)

    @staticmethod
    def _check_stage(index: int, stage: Stage, family: 'Family') -> None:
        if stage.block not in family.blocks:
            raise UserError(
                f'stage {index}: block {stage.block!r} is not a block of {family.name}; known: {", ".join(family.blocks)}.'
            )
        if stage.joined and not family.joined:
            raise UserError(f'stage {index}: joined=True, but {family.name} networks have no joined stages; set it to false.')
        if stage.se and not family.se:
            raise UserError(f'stage {index}: se={stage.se:g}, but blocks of {family.name} have no squeeze-excite; set it to 0.')
        if stage.block in PLAIN_BLOCKS and stage.expansion != 1:
            raise UserError(
                f'stage {index}: expansion={stage.expansion:g}, but a {stage.block} block has no inner width; set it to 1.'
            )
        if min(stage.channels, stage.repeats, stage.stride, stage.expansion) <= 0 or stage.kernel % 2 != 1 or stage.se < 0:
            raise UserError(
                f'stage {index}: channels, repeats, stride and expansion must be positive, the kernel odd, se 0 or more: {stage}.'
            )


def _check_types(record: 'Arch | Stage', where: str) -> None:
    """Raise UserError for a field of another type, such as 24.5 channels, which the cost would count and no model can have."""
    kinds = {int: (Integral, 'a whole number'), float: (Real, 'a number'), bool: (bool, 'true or false'), str: (str, 'a text')}
    for field in dataclasses.fields(record):
        kind, words = next((found for known, found in kinds.items() if field.type is known), (object, ''))
        value = getattr(record, field.name)
        if not isinstance(value, kind) or (isinstance(value, bool) and field.type is not bool) or value != value:
            raise UserError(f'{where}{field.name}={value!r} is not {words}; correct this field of the table.')


@dataclass(frozen=True)
class Family:
    """A family of networks: the fields its tables may set, and how it is built.

    Cost, models, configs and weights read this record. ``backbone`` is the registered type of the model, ``base`` the table that
    a config scales by default, ``recipe`` the ImageNet recipe of its configs. ``inner_divisor`` rounds the inner widths of its
    blocks. The other fields say whether a table may have a stem kernel other than 3, a layer after the pooling (``hidden``), a
    head, squeeze-excite and joined stages.

    ``blocks`` names the blocks; what a block does is in two tables with these names as keys: ``BLOCKS`` in
    :mod:`tinynet_mm.cost` (name to cost function) and ``BLOCKS`` in the modules of :mod:`tinynet_mm.models` (name to module).
    They are not part of this record, because this module imports neither torch nor the cost. A test compares their keys with
    ``blocks`` of all families.
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
        """The first field of a table that this family does not build, as a clause; empty if all are built."""
        if arch.stem_kernel != 3 and not self.any_stem_kernel:
            return f'stem_kernel={arch.stem_kernel}, but the stem is a 3x3 convolution'
        if arch.stem_kernel % 2 != 1:
            return f'stem_kernel={arch.stem_kernel} is not odd'
        if bool(arch.stem_pool) != self.stem_pool:
            return f'stem_pool={arch.stem_pool}, but the stem {"ends with" if self.stem_pool else "has no"} pooling'
        if arch.head and not self.head:
            return f'head={arch.head}, but there is no convolution after the last stage'
        if arch.hidden and not (self.hidden and arch.head):
            return f'hidden={arch.hidden}, but only a GhostNet with a head has a layer after the pooling'
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

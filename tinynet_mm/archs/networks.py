"""Base networks and presets as tables, and the lookup of a network by name, multipliers or table.

Sources: EfficientNet-B0 from table 1 of Tan and Le (2019); ResNets from table 1 of He et al. (2016), with the stride in the 3x3
convolution as in torchvision; GhostNet-A from table 7 of the TinyNet paper, GhostNet-1.0x from table 1 of Han et al. (2020);
(r, w, d) of TinyNet-A to E from the authors' published code; EfficientNet-B-1 to B-4 by the inverted compound scaling of section
4.1, with the exponent solved for the paper's FLOPs. Multipliers that are not published are solved by
:mod:`tinynet_mm.paper.inferred` and listed in :data:`INFERRED`.
"""

import dataclasses
from typing import Any

from ..errors import UserError, did_you_mean
from .records import Arch, Scaling, Stage
from .scaling import inverted_compound, scale

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


def _ghostnet(name: str, w: float) -> Arch:
    """GhostNet 1.0x of another width; its authors do not scale the hidden layer of the classifier."""
    wide = scale(GHOSTNET_100, Scaling(w=w, fixed_ends=False), name)
    return dataclasses.replace(wide, hidden=GHOSTNET_100.hidden)


GHOSTNETS = (GHOSTNET_A, _ghostnet('ghostnet_050', 0.5), GHOSTNET_100, _ghostnet('ghostnet_150', 1.5))

# B0 with ReLU6 and without squeeze-excite, for int8
EFFICIENTNET_LITE0 = dataclasses.replace(
    EFFICIENTNET_B0,
    name='efficientnet_lite0',
    activation='ReLU6',
    stages=tuple(dataclasses.replace(stage, se=0.0) for stage in EFFICIENTNET_B0.stages),
)

BASES: dict[str, Arch] = {base.name: base for base in (EFFICIENTNET_B0, EFFICIENTNET_LITE0, *RESNETS, *GHOSTNETS)}


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
    'efficientnet_b-1_in100': ('efficientnet_b0', Scaling(r=0.86, w=0.89, d=0.80, fixed_ends=False)),  # section 3.1
    'efficientnet_b-3_printed': ('efficientnet_b0', Scaling(r=0.61, w=0.69, d=0.49, fixed_ends=False)),
    'efficientnet_b-4_printed': ('efficientnet_b0', Scaling(r=0.48, w=0.60, d=0.37, fixed_ends=False)),
    'efficientnet_lite0': ('efficientnet_lite0', Scaling()),
    'efficientnet_b1': ('efficientnet_b0', _giant(240, 1.0, 1.1)),
    'efficientnet_b2': ('efficientnet_b0', _giant(260, 1.1, 1.2)),
    'efficientnet_b3': ('efficientnet_b0', _giant(300, 1.2, 1.4)),
    'efficientnet_b4': ('efficientnet_b0', _giant(380, 1.4, 1.8)),
    'efficientnet_b5': ('efficientnet_b0', _giant(456, 1.6, 2.2)),
    'efficientnet_b6': ('efficientnet_b0', _giant(528, 1.8, 2.6)),
    'efficientnet_b7': ('efficientnet_b0', _giant(600, 2.0, 3.1)),
    **{base.name: (base.name, Scaling()) for base in (*RESNETS, *GHOSTNETS)},
    'resnet50_a': ('resnet50', Scaling(r=0.86, w=0.99, d=1.2)),
    'resnet50_b': ('resnet50', Scaling(r=0.84, w=0.77, d=1.04)),
    'resnet50_giant_a': ('resnet50', Scaling(r=0.943, w=0.961, d=0.926, fixed_ends=False)),
    'resnet50_giant_b': ('resnet50', Scaling(r=0.827, w=0.878, d=0.780, fixed_ends=False)),
    'ghostnet_b': ('ghostnet_a', Scaling(r=0.87, w=0.80, d=1.09, fixed_ends=False)),
    'ghostnet_c': ('ghostnet_a', Scaling(r=0.77, w=0.67, d=0.83, fixed_ends=False)),
    'ghostnet_d': ('ghostnet_a', Scaling(r=0.61, w=0.49, d=0.64, fixed_ends=False)),
}

# B-3 and B-4: one exponent t that meets the printed parameters is 3 % below the printed multiply-adds; *_printed meets both with
# three multipliers. resnet50_giant: "by the EfficientNet rule" for the printed multiply-adds of table 2, one exponent each.
# Not published: solved for the paper's MACs and parameters by tinynet_mm.paper.inferred. Other (r, w, d) meet them as well.
INFERRED = frozenset({'resnet50_a', 'resnet50_b', 'ghostnet_b', 'ghostnet_c', 'ghostnet_d'})


def preset(name: str) -> Arch:
    """The network of a preset's name.

    Raises:
        UserError: the name is unknown; the message has the nearest names.
    """
    if name not in PRESETS:
        raise UserError(f'unknown architecture {name!r}.{did_you_mean(name, PRESETS, cutoff=0.3)} Known: {", ".join(PRESETS)}.')
    base, scaling = PRESETS[name]
    return scale(BASES[base], scaling, name)


def resolve(arch: str | dict | Arch, base: str = 'efficientnet_b0', family: str | None = None) -> Arch:
    """An Arch from a preset's name, from ``dict(r=, w=, d=, se=, base=)`` (fields of :class:`Scaling`), or from a complete table.

    Args:
        arch: the name, the dict, the table as a dict, or an Arch, which is returned unchanged.
        base: the base that a dict of multipliers scales if it names none.
        family: the family that is required, if any.

    Raises:
        UserError: unknown name, key or base; or the network is not of ``family``.
    """
    found = _resolve(arch, base)
    if family and found.family != family:
        fitting = [name for name, (source, _) in PRESETS.items() if BASES[source].family == family]
        raise UserError(f'{found.name} is of the family {found.family}, but {family} is required, like {", ".join(fitting)}.')
    return found


def _resolve(arch: str | dict | Arch, base: str) -> Arch:
    if isinstance(arch, Arch):
        return arch
    if isinstance(arch, str):
        return preset(arch)
    if not isinstance(arch, dict):
        raise UserError(f'arch={arch!r}: give a name, a dict of r, w and d, or a table.')
    if 'stages' in arch:
        return Arch.from_dict(arch)
    return _scaled(**{'base': base, **arch})


def _scaled(base: str, se: float | None = None, **fields: Any) -> Arch:
    known = [f.name for f in dataclasses.fields(Scaling)]
    if unknown := sorted(set(fields) - set(known)):
        raise UserError(f'unknown key {unknown[0]!r} in arch; known: base, se, {", ".join(known)}.')
    if not isinstance(base, str) or base not in BASES:
        raise UserError(f'unknown base {base!r}; known: {", ".join(BASES)}.')
    scaling = Scaling(**fields)
    arch = scale(BASES[base], scaling, f'{base}(r={scaling.r:g}, w={scaling.w:g}, d={scaling.d:g})')
    return arch if se is None else with_squeeze_excite(arch, se)


def with_squeeze_excite(arch: Arch, ratio: float) -> Arch:
    """The network with the squeeze-excite ratio ``ratio`` in all stages, 0 for none.

    Squeeze-excite takes time that its multiply-adds do not show, and is hard to quantise to int8.

    Raises:
        UserError: the ratio is not between 0 and 1, or the family has no squeeze-excite.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1:
        raise UserError(f'se={ratio!r}: the squeeze-excite ratio is a number from 0 (none) to 1.')
    stages = [dataclasses.asdict(stage) | dict(se=ratio) for stage in arch.stages]
    return Arch.from_dict(dataclasses.asdict(arch) | dict(name=f'{arch.name}, se={ratio:g}', stages=stages))

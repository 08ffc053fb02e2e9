"""Configs of a solved network for ImageNet, SSDLite-512 and the light detector, ready for training.

The files inherit from the complete recipes in this package's ``configs`` by full path, so that they can be in any folder.
SSDLite uses the last level of stride 16 and the last level, of stride 32; the light detector uses the last stages of strides 8,
16 and 32.
"""

import dataclasses
import pprint
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from ..archs import BASES, FAMILIES, Arch, scale
from ..errors import UserError
from ..files import write_text
from ..mmlab.registration import recipe as recipe_file
from .budget import amount, readable
from .tiny import Solution

CROP = 0.875
NOT_IN_NAMES = re.compile(r'[^\w.-]+')  # characters that file names do not keep

CLASSIFIER = '''"""{title} on {data}, {side} pixels.

    tinynet train {path}

Written by the tiny formula for {budget}: {macs} multiply-adds, {params} parameters. Not trained.
{measured}"""

_base_ = {base!r}
model = dict(
    backbone=dict(
        type={backbone!r},
        arch={arch},
        out_indices=(-1,),
    ),
    head=dict({head}in_channels={channels}),{preprocessor}
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale={side}, backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale={edge}, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size={side}),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict({dataset}pipeline=train_pipeline))
val_dataloader = dict(dataset=dict({dataset}pipeline=test_pipeline))
test_dataloader = val_dataloader
{epochs}'''

DETECTOR = '''"""{detector} on COCO with {title}, from scratch.

    tinynet train {path}

Written by the tiny formula for {budget}. Not trained. To start from weights trained with the ImageNet config in this folder:
--cfg-options model.backbone.init_cfg="dict(type='Pretrained', checkpoint='FILE.pth', prefix='backbone.')"
{measured}"""

_base_ = {base!r}
model = dict(
    backbone=dict(
        type={backbone!r},
        arch={arch},
        out_indices={levels},
    ),
{parts})
'''


def write_configs(solution: Solution, folder: str | Path, classes: int = 1000) -> list[Path]:
    """Write the configs of a solution into ``folder``; that of the light detector only if the network has a level of stride 8.

    Args:
        solution: the network.
        folder: created if it is missing.
        classes: 1000 for an ImageNet config, 100 for an ImageNet-100 config.

    Returns:
        the paths: ImageNet, SSDLite, the light detector.

    Raises:
        UserError: a file with that name exists, the network has no levels of stride 16 and 32 for SSDLite, or ``classes`` is
            neither 1000 nor 100.
    """
    check_classes(classes)
    folder, name = Path(folder), f'{NOT_IN_NAMES.sub("_", solution.base)}_{slug(solution)}'
    recipe, data = FAMILIES[solution.arch.family].recipe, 'in100' if classes == 100 else 'in1k'
    recipes = [f'imagenet/_base_/{part}.py' for part in (recipe, 'imagenet', 'runtime')]
    texts = {}
    for kind, parts in dict(ssdlite=_ssdlite_parts(solution.arch), rtmdet=_light_parts(solution.arch)).items():
        path = folder / f'{kind}_{name}_coco.py'
        if parts:
            texts[path] = DETECTOR.format(**_fields(solution, path, [f'_base_/{kind}_coco.py'], classes), **parts)
    path = folder / f'{name}_{data}.py'
    texts = {path: CLASSIFIER.format(**_fields(solution, path, recipes, classes)), **texts}
    for path in texts:
        if path.exists():
            raise UserError(f'{path} exists already; remove it, or write to another folder.')
    for path, text in texts.items():
        write_text(path, text)
    return list(texts)


def _ssdlite_parts(arch: Arch) -> dict[str, object]:
    """The fields of :data:`DETECTOR` for SSDLite."""
    levels, widths = detection_levels(arch)
    outputs = (*widths, 512, 256, 256, 128)
    parts = f'    neck=dict(in_channels={widths}, out_channels={outputs}),\n    bbox_head=dict(in_channels={outputs}),\n'
    return dict(detector='SSDLite-512', levels=levels, parts=parts)


def _light_parts(arch: Arch) -> dict[str, object]:
    """The fields of :data:`DETECTOR` for the light detector; empty for a network without a level of stride 8."""
    if found := pyramid(arch):
        return dict(detector='The light detector', levels=found[0], parts=f'    neck=dict(in_channels={found[1]}),\n')
    return {}


def check_classes(classes: int) -> None:
    """Raise UserError if no config can be written for a number of classes."""
    if classes not in (100, 1000):
        raise UserError(
            f'no config for {classes} classes: configs are written for the 1000 classes of ImageNet or the 100 of ImageNet-100; '
            'solve with one of these, since the classifier is part of the cost.'
        )


def slug(solution: Solution) -> str:
    """The budget as part of a file name: 75M, 3Mparameters, 5ms."""
    if solution.unit == 'ms':
        return f'{solution.budget:g}ms'
    return f'{solution.budget / 1e6:g}M' + ('' if solution.unit == 'MACs' else solution.unit)


def backbone(arch: Arch) -> dict:
    """The MMEngine config of a network's backbone."""
    return dict(type=FAMILIES[arch.family].backbone, arch=arch)


def _last_of(arch: Arch, wanted: Sequence[int]) -> tuple[int, ...]:
    """The index of the last level of each stride in ``wanted``; -1 where the network has no such level."""
    stride, strides = 4 if arch.stem_pool else 2, []
    for runs in arch.levels:
        for stage in runs:
            stride *= stage.stride
        strides.append(stride)
    return tuple(max((i for i, found in enumerate(strides) if found == one), default=-1) for one in wanted)


def pyramid(arch: Arch) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Indices and widths of the last stages of strides 8, 16 and 32, for the light detector; None without one of them."""
    indices = _last_of(arch, (8, 16, 32))
    return None if -1 in indices else (indices, tuple(arch.levels[index][-1].channels for index in indices))


def detection_levels(arch: Arch) -> tuple[tuple[int, int], tuple[int, int]]:
    """Indices and widths of the two levels for an SSDLite head: the last of stride 16, and the last level, of stride 32.

    Raises:
        UserError: the network has no level of stride 16, or its last level has another stride than 32.
    """
    middle, last = _last_of(arch, (16, 32))
    if middle < 0 or last != len(arch.levels) - 1:
        raise UserError(
            f'{arch.name} has no level of stride 16, or its last level has another stride than 32, which SSDLite needs; '
            'change the strides of its stages.'
        )
    return (middle, last + bool(arch.head)), (arch.levels[middle][-1].channels, arch.head or arch.stages[-1].channels)


def _fields(solution: Solution, path: Path, bases: list[str], classes: int) -> dict:
    arch, s = solution.arch, solution.scaling
    return dict(
        title=f'{_title(solution.base)} at r={s.r:g}, w={s.w:g}, d={s.d:g}',
        data='ImageNet-100' if classes == 100 else 'ImageNet-1k',
        side=arch.resolution, edge=int(arch.resolution / CROP), path=path,
        budget=amount(solution.budget, solution.unit), base=[str(recipe_file(base)) for base in bases],
        macs=readable(solution.cost.macs), params=readable(solution.cost.params), backbone=FAMILIES[arch.family].backbone,
        arch=_literal(solution), channels=arch.hidden or arch.head or arch.stages[-1].channels,
        measured=f'Measured: {_title(solution.protocol)}.\n' if solution.protocol else '',
        **_imagenet100_parts(arch) if classes == 100 else dict.fromkeys(IMAGENET100_PARTS, ''),
    )  # fmt: skip


IMAGENET100_PARTS = ('head', 'preprocessor', 'dataset', 'epochs')  # parts of a config that differ for ImageNet-100


def _imagenet100_parts(arch: Arch) -> dict[str, str]:
    """The settings that differ from the ImageNet-1k recipe. ResNets train for 90 epochs on both."""
    epochs = 'train_cfg = dict(max_epochs=100)\n' if FAMILIES[arch.family].recipe == 'rmsprop' else ''
    preprocessor = '\n    data_preprocessor=dict(num_classes=100),'
    values = ('num_classes=100, ', preprocessor, "data_root='data/imagenet100', num_classes=100, ", epochs)
    return dict(zip(IMAGENET100_PARTS, values))


def _literal(solution: Solution) -> str:
    """``dict(base=, r=, w=, d=)`` for a base of this package, the complete table for a user-defined base with any name."""
    if solution.base not in BASES or scale(BASES[solution.base], solution.scaling) != solution.arch:
        table = pprint.pformat(dataclasses.asdict(solution.arch), sort_dicts=False, width=110)
        return textwrap.indent(table, ' ' * 8).strip()
    s = solution.scaling
    ends = '' if s.fixed_ends else ', fixed_ends=False'
    return f'dict(base={solution.base!r}, r={s.r:g}, w={s.w:g}, d={s.d:g}{ends})'


def _title(name: str) -> str:
    """A base's name for a docstring: one line without quotes and backslashes, which could end the docstring."""
    return re.sub(r'[^\w .,()+-]+', '_', name, flags=re.ASCII)

"""Figures printed in the paper, for comparison with the formula's networks; the accuracies were not measured by this project.

TinyNet (NeurIPS 2020), tables 2, 3 and 6, without the rows that change the activation or the augmentation.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Published:
    """A row of the paper; ``top1`` in percent on ``dataset``; MACs and parameters as printed (0 if they are not)."""

    name: str
    params: int
    macs: int
    top1: float
    dataset: str = 'ImageNet'
    table: int = 3


def _rows(dataset: str, table: int, *rows: tuple[str, float, float, float]) -> tuple[Published, ...]:
    return tuple(
        Published(name, round(params * 1e6), round(macs * 1e6), top1, dataset, table) for name, params, macs, top1 in rows
    )


# name, parameters in millions, MACs in millions, top-1
IMAGENET = _rows(
    'ImageNet', 3,
    ('MobileNetV3 Large 1.25x', 7.5, 356, 76.6),
    ('MnasNet-A1', 3.9, 312, 75.2),
    ('EfficientNet-B0', 5.3, 387, 76.7),
    ('TinyNet-A', 6.2, 339, 76.8),
    ('MobileNetV2 1.0x', 3.5, 300, 71.8),
    ('ShuffleNetV2 1.5x', 3.5, 299, 72.6),
    ('FBNet-B', 4.5, 295, 74.1),
    ('ProxylessNAS', 4.1, 320, 74.6),
    ('EfficientNet-B-1', 3.6, 201, 74.7),
    ('TinyNet-B', 3.7, 202, 75.0),
    ('MobileNetV1 0.5x (r=0.86)', 1.3, 110, 61.7),
    ('MobileNetV2 0.5x', 2.0, 97, 65.4),
    ('MobileNetV3 Small 1.25x', 3.6, 91, 70.4),
    ('EfficientNet-B-2', 3.0, 98, 70.5),
    ('TinyNet-C', 2.5, 100, 71.2),
    ('MobileNetV2 0.35x', 1.7, 59, 60.3),
    ('ShuffleNetV2 0.5x', 1.4, 41, 61.1),
    ('MnasNet-A1 0.35x', 1.7, 63, 64.1),
    ('MobileNetV3 Small 0.75x', 2.4, 44, 65.4),
    ('EfficientNet-B-3', 2.0, 51, 65.0),
    ('TinyNet-D', 2.3, 52, 67.0),
    ('MobileNetV2 0.35x (r=0.71)', 1.7, 30, 55.7),
    ('MnasNet-A1 0.35x (r=0.57)', 1.7, 22, 54.8),
    ('MobileNetV3 Small 0.5x', 1.6, 23, 58.0),
    ('MobileNetV3 Small 1.0x (r=0.57)', 2.5, 20, 57.3),
    ('EfficientNet-B-4', 1.3, 24, 56.7),
    ('TinyNet-E', 2.0, 24, 59.9),
)  # fmt: skip
GHOSTNETS = _rows(
    'ImageNet', 6,
    ('EfficientNet-B1', 7.8, 700, 78.7),
    ('GhostNet-A', 11.9, 591, 78.7),
    ('EfficientNet-B0', 5.3, 387, 76.7),
    ('GhostNet-1.5x', 9.1, 300, 76.4),
    ('GhostNet-B', 8.0, 300, 77.0),
    ('MobileNetV3 Large 0.75x', 4.0, 155, 73.3),
    ('GhostNet-1.0x', 5.2, 141, 73.9),
    ('GhostNet-C', 5.0, 141, 74.2),
    ('MobileNetV3 Small 0.75x', 2.4, 44, 65.4),
    ('GhostNet-0.5x', 2.6, 42, 66.2),
    ('GhostNet-D', 2.6, 52, 67.7),
)  # fmt: skip
RESNETS = _rows(
    'ImageNet-100', 2,
    ('ResNet-50', 0, 4100, 78.7),
    ('ResNet-34', 0, 3700, 77.9),
    ('ResNet-50 by the EfficientNet rule, 3.7 G', 0, 3700, 78.3),
    ('ResNet-50-A', 0, 3600, 79.3),
    ('ResNet-18', 0, 1800, 76.5),
    ('ResNet-50 by the EfficientNet rule, 1.8 G', 0, 1800, 76.9),
    ('ResNet-50-B', 0, 1800, 78.2),
)  # fmt: skip
ONCE = (*IMAGENET, *(row for row in GHOSTNETS if row.name not in {other.name for other in IMAGENET}))  # table 6 repeats two rows
TABLES = dict(efficientnet=IMAGENET, ghostnet=ONCE, resnet=RESNETS)


# the paper's name -> the preset that builds this network
BUILT = {
    **{f'TinyNet-{letter.upper()}': f'tinynet_{letter}' for letter in 'abcde'},
    **{f'EfficientNet-B{n}': f'efficientnet_b{n}' for n in (-4, -3, -2, -1, 0, 1)},
    **{f'GhostNet-{letter.upper()}': f'ghostnet_{letter}' for letter in 'abcd'},
    **{f'ResNet-{n}': f'resnet{n}' for n in (18, 34, 50)},
    **{f'ResNet-50-{letter.upper()}': f'resnet50_{letter}' for letter in 'ab'},
    **{f'GhostNet-{w}x': f'ghostnet_{round(100 * w):03d}' for w in (0.5, 1.0, 1.5)},
    'ResNet-50 by the EfficientNet rule, 3.7 G': 'resnet50_giant_a',
    'ResNet-50 by the EfficientNet rule, 1.8 G': 'resnet50_giant_b',
}
OWN = ('TinyNet', 'GhostNet-A', 'GhostNet-B', 'GhostNet-C', 'GhostNet-D', 'ResNet-50-')  # the paper's own networks


def neighbours(macs: float, family: str = 'efficientnet', count: int = 5) -> list[Published]:
    """The ``count`` published networks nearest in MACs, and the paper's own next below and above, in ascending order of MACs.

    ``family`` selects the table of the paper, see :data:`TABLES`.
    """
    table = sorted(TABLES[family], key=lambda row: row.macs)
    own = [row for row in table if row.name.startswith(OWN)]
    chosen = {*[row for row in own if row.macs <= macs][-1:], *[row for row in own if row.macs > macs][:1]}
    chosen.update(sorted(table, key=lambda row: abs(np.log(row.macs / macs)))[:count])
    return [row for row in table if row in chosen]

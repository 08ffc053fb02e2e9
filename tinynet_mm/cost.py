"""What a network costs: multiply-adds, parameters and activations, in closed form over its stage table.

The paper's FLOPs are multiply-adds of convolutions and linear layers (section 3.1: the constraint of the whole method). The
integers equal torch's own counter on the built model; the closed form is there because it takes microseconds where building
and counting takes 0.1 s, and because it runs over arrays of candidates (the search of :mod:`tinynet_mm.formula` needs a million).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .archs import Arch, Stage, divisible


class Cost(NamedTuple):
    """Integers, or integer arrays for an Arch of many candidates.

    macs: multiply-adds of one image. params: weights, biases and the two of each batch norm. activations: elements which
    convolutions and linear layers write for one image (the measure of Radosavovic et al., 2020, and of mmengine's counter).
    """

    macs: int
    params: int
    activations: int

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(*(a + b for a, b in zip(self, other)))

    def times(self, n) -> 'Cost':
        return Cost(*(n * a for a in self))


@dataclass(frozen=True)
class Flow:
    """Where a block stands: the channels and the side (pixels) of its input."""

    channels: int
    side: int

    def down(self, stride: int) -> int:
        """Side behind a padded convolution of this stride."""
        return (self.side - 1) // stride + 1


def conv(inputs, outputs, kernel: int, side, groups=1, bias: bool = False, norm: bool = True) -> Cost:
    """A convolution with an output of ``side`` x ``side``, with its batch norm."""
    weights = outputs * (inputs // groups) * kernel * kernel
    return Cost(weights * side * side, weights + outputs * (bias + 2 * norm), outputs * side * side)


def depthwise(channels, kernel: int, side) -> Cost:
    return conv(channels, channels, kernel, side, groups=channels)


def squeeze_excite(channels, reduced) -> Cost:
    """Two 1x1 convolutions with bias on the pooled (C, 1, 1) map."""
    return conv(channels, reduced, 1, 1, bias=True, norm=False) + conv(reduced, channels, 1, 1, bias=True, norm=False)


def reduced_channels(channels, ratio: float):
    """Squeeze-excite width of EfficientNet: ``ratio`` of the block's *input* channels, rounded half to even as Python does."""
    rounded = np.rint(np.asarray(channels) * ratio).astype(np.int64)
    return rounded if rounded.ndim else int(rounded)


def separable_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side = flow.down(stride)
    cost = depthwise(flow.channels, stage.kernel, side) + conv(flow.channels, stage.channels, 1, side)
    return cost + squeeze_excite(flow.channels, reduced_channels(flow.channels, stage.se)) if stage.se else cost


def inverted_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side, middle = flow.down(stride), divisible(flow.channels * stage.expansion)
    cost = conv(flow.channels, middle, 1, flow.side) + depthwise(middle, stage.kernel, side) + conv(middle, stage.channels, 1, side)
    return cost + squeeze_excite(middle, reduced_channels(flow.channels, stage.se)) if stage.se else cost


BLOCKS = {'separable': separable_block, 'inverted': inverted_block}


def stage_cost(stage: Stage, flow: Flow) -> Cost:
    """First block with the stage's stride, then ``repeats - 1`` equal blocks on its output."""
    block = BLOCKS[stage.block]
    rest = block(stage, Flow(stage.channels, flow.down(stage.stride)), 1)
    return block(stage, flow, stage.stride) + rest.times(stage.repeats - 1)


def parts(arch: Arch, resolution: int | None = None, classes: int = 1000) -> list[tuple[str, Cost]]:
    """Cost of each part in order: stem, stages, head, classifier. ``classes=0`` leaves the classifier out."""
    flow = Flow(3, arch.resolution if resolution is None else resolution)
    flow = Flow(arch.stem, flow.down(2))
    rows = [('stem', conv(3, arch.stem, 3, flow.side))]
    for index, stage in enumerate(arch.stages):
        rows.append((f'stage {index} {stage.block}', stage_cost(stage, flow)))
        flow = Flow(stage.channels, flow.down(stage.stride))
    if np.any(arch.head):
        rows.append(('head', conv(flow.channels, arch.head, 1, flow.side)))
        flow = Flow(arch.head, flow.side)
    if classes:
        rows.append(('classifier', conv(flow.channels, classes, 1, 1, bias=True, norm=False)))
    return rows


def cost(arch: Arch, resolution: int | None = None, classes: int = 1000) -> Cost:
    """Cost of the whole classifier at ``resolution`` pixels (the network's own where None)."""
    return sum((c for _, c in parts(arch, resolution, classes)), Cost(0, 0, 0))

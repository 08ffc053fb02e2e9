"""What a network costs: multiply-adds, parameters and activations, in closed form over its stage table.

The paper's FLOPs are multiply-adds of convolutions and linear layers (section 3.1: the constraint of the whole method). The
integers equal torch's own counter on the built model; the closed form is there because it takes well under a millisecond where
building and counting takes 100, and because it runs over arrays of candidates (the search of :mod:`tinynet_mm.formula` needs a
million: :func:`scaled_cost`).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .archs import Arch, Scaling, Stage, inner_channels, reduced_channels, scale


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


NOTHING = Cost(0, 0, 0)


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


def linear(inputs, outputs) -> Cost:
    """A linear layer with bias, or a 1x1 convolution with bias on a pooled (C, 1, 1) map."""
    weights = inputs * outputs
    return Cost(weights, weights + outputs, outputs)


def depthwise(channels, kernel: int, side) -> Cost:
    weights = channels * (kernel * kernel)
    return Cost(weights * side * side, weights + 2 * channels, channels * side * side)


def squeeze_excite(channels, reduced) -> Cost:
    """Two 1x1 convolutions with bias on the pooled (C, 1, 1) map."""
    return linear(channels, reduced) + linear(reduced, channels)


# Blocks: the cost of one, and the same widths as in models/ -------------------------------------------------------------------


def separable_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side = flow.down(stride)
    cost = depthwise(flow.channels, stage.kernel, side) + conv(flow.channels, stage.channels, 1, side)
    return cost + squeeze_excite(flow.channels, reduced_channels(stage, flow.channels)) if stage.se else cost


def inverted_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = (
        conv(flow.channels, middle, 1, flow.side) + depthwise(middle, stage.kernel, side) + conv(middle, stage.channels, 1, side)
    )
    return cost + squeeze_excite(middle, reduced_channels(stage, flow.channels)) if stage.se else cost


def _where_shape_changes(shortcut: Cost, stage: Stage, flow: Flow, stride: int) -> Cost:
    return shortcut if stride != 1 else shortcut.times(flow.channels != stage.channels)


def _projection(stage: Stage, flow: Flow, stride: int) -> Cost:
    """ResNet's 1x1 convolution on the shortcut."""
    return _where_shape_changes(conv(flow.channels, stage.channels, 1, flow.down(stride)), stage, flow, stride)


def basic_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side, out = flow.down(stride), stage.channels
    return conv(flow.channels, out, stage.kernel, side) + conv(out, out, stage.kernel, side) + _projection(stage, flow, stride)


def bottleneck_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = conv(flow.channels, middle, 1, flow.side) + conv(middle, middle, stage.kernel, side)
    return cost + conv(middle, stage.channels, 1, side) + _projection(stage, flow, stride)


def ghost_module(inputs, outputs, side) -> Cost:
    """Half of the outputs by a 1x1 convolution, the other half from those by a cheap 3x3 depthwise one (Han et al., 2020)."""
    half = (outputs + 1) // 2
    return conv(inputs, half, 1, side) + depthwise(half, 3, side)


def ghost_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = ghost_module(flow.channels, middle, flow.side) + ghost_module(middle, stage.channels, side)
    if stride > 1:
        cost += depthwise(middle, stage.kernel, side)
    if stage.se:
        cost += squeeze_excite(middle, reduced_channels(stage, flow.channels))
    shortcut = depthwise(flow.channels, stage.kernel, side) + conv(flow.channels, stage.channels, 1, side)
    return cost + _where_shape_changes(shortcut, stage, flow, stride)


BLOCKS = {
    'separable': separable_block,
    'inverted': inverted_block,
    'basic': basic_block,
    'bottleneck': bottleneck_block,
    'ghost': ghost_block,
}


def stage_cost(stage: Stage, flow: Flow) -> Cost:
    """First block with the stage's stride, then ``repeats - 1`` equal blocks on its output."""
    block = BLOCKS[stage.block]
    rest = block(stage, Flow(stage.channels, flow.down(stage.stride)), 1)
    return block(stage, flow, stage.stride) + rest.times(stage.repeats - 1)


# Networks ---------------------------------------------------------------------------------------------------------------------


def parts(arch: Arch, resolution: int | None = None, classes: int = 1000) -> list[tuple[str, Cost]]:
    """Cost of each part in order: stem, stages, head, hidden layer, classifier. ``classes=0`` leaves the classifier out."""
    flow = Flow(3, arch.resolution if resolution is None else resolution)
    flow = Flow(arch.stem, flow.down(2))
    rows = [('stem', conv(3, arch.stem, arch.stem_kernel, flow.side))]
    if arch.stem_pool:
        flow = Flow(arch.stem, flow.down(2))
    for index, stage in enumerate(arch.stages):
        rows.append((f'stage {index} {stage.block}', stage_cost(stage, flow)))
        flow = Flow(stage.channels, flow.down(stage.stride))
    if np.any(arch.head):
        rows.append(('head', conv(flow.channels, arch.head, 1, flow.side)))
        flow = Flow(arch.head, flow.side)
    if np.any(arch.hidden):
        rows.append(('hidden', linear(flow.channels, arch.hidden)))
        flow = Flow(arch.hidden, 1)
    if classes:
        rows.append(('classifier', linear(flow.channels, classes)))
    return rows


def cost(arch: Arch, resolution: int | None = None, classes: int = 1000) -> Cost:
    """Cost of the whole classifier at ``resolution`` pixels (the network's own where None)."""
    return sum((c for _, c in parts(arch, resolution, classes)), NOTHING)


def scaled_cost(base: Arch, scaling: Scaling, classes: int = 1000, chunk: int = 16384) -> Cost:
    """``cost(scale(base, scaling))`` for arrays of candidates, in chunks that stay in the processor's cache: a million a second.

    ``r``, ``w`` and ``d`` are arrays of one length, or numbers that hold for all; the result has int64 arrays of that length.
    """
    r, w, d = np.broadcast_arrays(*map(np.atleast_1d, (scaling.r, scaling.w, scaling.d)))
    out = np.empty((3, r.size), dtype=np.int64)
    for start in range(0, r.size, chunk):
        some = slice(start, start + chunk)
        out[:, some] = cost(scale(base, replace(scaling, r=r[some], w=w[some], d=d[some])), classes=classes)
    return Cost(*out)

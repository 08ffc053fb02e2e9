"""Cost of a network: multiply-adds, parameters and activations, in closed form from its stage table.

The paper's FLOPs are multiply-adds of convolutions and linear layers (section 3.1). The integers equal torch's counter on the
built model. The closed form takes less than a millisecond, where building and counting takes 100 ms, and it accepts arrays of
candidates (:func:`scaled_cost`), since the search of :mod:`tinynet_mm.formula` counts a million networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .archs import Arch, Integers, Scaling, Stage, inner_channels, reduced_channels, scale
from .errors import UserError


class Cost(NamedTuple):
    """Integers for one network, or integer arrays for an Arch of many candidates.

    macs: multiply-adds for one image. params: weights, biases, and two values per channel of each batch norm. activations:
    elements that convolutions and linear layers write for one image (as in Radosavovic et al., 2020, and mmengine's counter).
    """

    macs: Integers
    params: Integers
    activations: Integers

    def __add__(self, other: 'Cost') -> 'Cost':  # type: ignore[override]  # a tuple would be concatenated
        return Cost(*(a + b for a, b in zip(self, other)))

    def times(self, n: Integers) -> 'Cost':
        """The cost of ``n`` equal parts."""
        return Cost(*(n * a for a in self))


NOTHING = Cost(0, 0, 0)
MOST_CLASSES, MOST_PIXELS = 10_000_000, 1_000_000  # the products of larger ones do not fit into 64 bits


@dataclass(frozen=True)
class Flow:
    """The input of a block: its channels and its side in pixels."""

    channels: Integers
    side: Integers

    def down(self, stride: int) -> Integers:
        """Side in pixels after a padded convolution of this stride."""
        return (self.side - 1) // stride + 1


def conv(inputs: Integers, outputs: Integers, kernel: int, side: Integers) -> Cost:
    """A convolution without bias whose output is ``side`` x ``side``, and its batch norm."""
    weights = outputs * inputs * kernel * kernel
    return Cost(weights * side * side, weights + 2 * outputs, outputs * side * side)


def linear(inputs: Integers, outputs: Integers) -> Cost:
    """A linear layer with bias, or a 1x1 convolution with bias on a pooled (C, 1, 1) map."""
    weights = inputs * outputs
    return Cost(weights, weights + outputs, outputs)


def depthwise(channels: Integers, kernel: int, side: Integers) -> Cost:
    """A depthwise convolution without bias whose output is ``side`` x ``side``, and its batch norm."""
    weights = channels * (kernel * kernel)
    return Cost(weights * side * side, weights + 2 * channels, channels * side * side)


def squeeze_excite(channels: Integers, reduced: Integers) -> Cost:
    """Two 1x1 convolutions with bias on the pooled (C, 1, 1) map."""
    return linear(channels, reduced) + linear(reduced, channels)


# Blocks: the cost of one block of a stage whose input is ``flow``; the widths are those of models/ ----------------------------


def separable_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    """Depthwise convolution, squeeze-excite, 1x1 convolution (EfficientNet)."""
    side = flow.down(stride)
    cost = depthwise(flow.channels, stage.kernel, side) + conv(flow.channels, stage.channels, 1, side)
    return cost + squeeze_excite(flow.channels, reduced_channels(stage, flow.channels)) if stage.se else cost


def inverted_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    """Expansion, depthwise convolution, squeeze-excite, projection (EfficientNet)."""
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = (
        conv(flow.channels, middle, 1, flow.side) + depthwise(middle, stage.kernel, side) + conv(middle, stage.channels, 1, side)
    )
    return cost + squeeze_excite(middle, reduced_channels(stage, flow.channels)) if stage.se else cost


def _where_shape_changes(shortcut: Cost, stage: Stage, flow: Flow, stride: int) -> Cost:
    return shortcut if stride != 1 else shortcut.times(flow.channels != stage.channels)


def _projection(stage: Stage, flow: Flow, stride: int) -> Cost:
    """The 1x1 convolution on the shortcut of a ResNet."""
    return _where_shape_changes(conv(flow.channels, stage.channels, 1, flow.down(stride)), stage, flow, stride)


def basic_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    """Two convolutions and the shortcut (ResNet-18 and 34)."""
    side, out = flow.down(stride), stage.channels
    return conv(flow.channels, out, stage.kernel, side) + conv(out, out, stage.kernel, side) + _projection(stage, flow, stride)


def bottleneck_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    """Reduction, convolution with the stride, expansion, and the shortcut (ResNet-50)."""
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = conv(flow.channels, middle, 1, flow.side) + conv(middle, middle, stage.kernel, side)
    return cost + conv(middle, stage.channels, 1, side) + _projection(stage, flow, stride)


def ghost_module(inputs: Integers, outputs: Integers, side: Integers) -> Cost:
    """A 1x1 convolution for half of the outputs, and a 3x3 depthwise one on these for the others (Han et al., 2020)."""
    half = (outputs + 1) // 2
    return conv(inputs, half, 1, side) + depthwise(half, 3, side)


def ghost_block(stage: Stage, flow: Flow, stride: int) -> Cost:
    """Two ghost modules, the strided depthwise convolution and the squeeze-excite between them, and the shortcut (GhostNet)."""
    side, middle = flow.down(stride), inner_channels(stage, flow.channels)
    cost = ghost_module(flow.channels, middle, flow.side) + ghost_module(middle, stage.channels, side)
    if stride > 1:
        cost += depthwise(middle, stage.kernel, side)
    if stage.se:
        cost += squeeze_excite(middle, reduced_channels(stage, flow.channels))
    shortcut = depthwise(flow.channels, stage.kernel, side) + conv(flow.channels, stage.channels, 1, side)
    return cost + _where_shape_changes(shortcut, stage, flow, stride)


BLOCKS: dict[str, Callable[[Stage, Flow, int], Cost]] = {
    'separable': separable_block,
    'inverted': inverted_block,
    'basic': basic_block,
    'bottleneck': bottleneck_block,
    'ghost': ghost_block,
}


def stage_cost(stage: Stage, flow: Flow) -> Cost:
    """The first block, which has the stage's stride, and ``repeats - 1`` equal blocks on its output."""
    block = BLOCKS[stage.block]
    rest = block(stage, Flow(stage.channels, flow.down(stage.stride)), 1)
    return block(stage, flow, stage.stride) + rest.times(stage.repeats - 1)


# Networks ---------------------------------------------------------------------------------------------------------------------


def check_input(resolution: int | None, classes: int) -> None:
    """Raise UserError for a side or a number of classes that no network has."""
    if not 0 <= classes <= MOST_CLASSES:
        raise UserError(f'classes={classes}: give 0 for the backbone alone, or the number of classes, up to {MOST_CLASSES}.')
    if resolution is not None and not 1 <= resolution <= MOST_PIXELS:
        raise UserError(f'resolution={resolution}: give at least one pixel, and at most {MOST_PIXELS}.')


def parts(arch: Arch, resolution: int | None = None, classes: int = 1000) -> list[tuple[str, Cost]]:
    """Cost of each part by name, in order: stem, stages, head, hidden layer, classifier.

    Args:
        arch: the network.
        resolution: side of the square input in pixels; the network's own by default.
        classes: outputs of the classifier; 0 leaves the classifier out.

    Raises:
        UserError: a side or a number of classes that no network has.
    """
    check_input(resolution, classes)
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
    """Cost of the complete classifier for one image; the arguments are those of :func:`parts`."""
    return sum((c for _, c in parts(arch, resolution, classes)), NOTHING)


def scaled_cost(base: Arch, scaling: Scaling, classes: int = 1000, chunk: int = 16384) -> Cost:
    """``cost(scale(base, scaling))`` for arrays of candidates, about a million per 0.35 s.

    Args:
        base: the base table.
        scaling: r, w and d are arrays of one length (n,), or numbers that hold for all candidates.
        classes: outputs of the classifier.
        chunk: candidates per step, so that intermediate arrays fit into the processor's cache.

    Returns:
        int64 arrays (n,).
    """
    r, w, d = np.broadcast_arrays(*map(np.atleast_1d, (scaling.r, scaling.w, scaling.d)))
    out = np.empty((3, r.size), dtype=np.int64)
    for start in range(0, r.size, chunk):
        part = slice(start, start + chunk)
        out[:, part] = cost(scale(base, replace(scaling, r=r[part], w=w[part], d=d[part])), classes=classes)
    return Cost(*out)

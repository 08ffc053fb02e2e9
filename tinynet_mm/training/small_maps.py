"""Convolutions for feature maps of a few pixels, which networks on 32-pixel images have in most of their layers.

Own code because speed is the point: oneDNN's backward pass of a 5 x 5 depthwise convolution takes as long for maps of one pixel
as for larger ones, and its pointwise convolutions are slower than the matrix product that they are. The results are equal up to
rounding (tests/test_small_maps.py); ``tools/benchmark_small_maps.py`` measures the difference.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

SMALL = 9  # pixels of the largest input map of SmallDepthwiseConv2d; with more of them oneDNN is as fast


class Tap(NamedTuple):
    """An element (row, column) of a kernel, and the region of the output that it adds to for a region of the input."""

    row: int
    column: int
    output: tuple[slice, slice, slice]
    input: tuple[slice, slice, slice]


def reach(tap: int, size: int, kernel: int, stride: int) -> tuple[slice, slice]:
    """Outputs and inputs of one side that an element of the kernel joins; padding is ``kernel // 2`` zeros at each end."""
    shift = tap - kernel // 2
    first = max(0, -(shift // stride))
    last = min((size - 1) // stride, (size - 1 - shift) // stride)
    if last < first:
        return slice(0), slice(0)
    return slice(first, last + 1), slice(first * stride + shift, last * stride + shift + 1, stride)


def find_taps(height: int, width: int, kernel: int, stride: int) -> list[Tap]:
    """The elements of a kernel that meet at least one pixel of a map of ``height`` x ``width``."""
    every = slice(None)
    rows = [reach(tap, height, kernel, stride) for tap in range(kernel)]
    columns = [reach(tap, width, kernel, stride) for tap in range(kernel)]
    return [
        Tap(row, column, (every, out_y, out_x), (every, in_y, in_x))
        for row, (out_y, in_y) in enumerate(rows)
        for column, (out_x, in_x) in enumerate(columns)
        if out_y.stop and out_x.stop
    ]


class Depthwise(torch.autograd.Function):
    """Depthwise convolution as one multiply-add of whole maps for each element of the kernel."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Maps of shape (N, H, W, C) and a weight of shape (k, k, C) to maps of shape (N, ceil(H / stride), ..., C)."""
        samples, height, width, channels = maps.shape
        ctx.taps = find_taps(height, width, weight.shape[0], stride)
        ctx.save_for_backward(maps, weight)
        result = maps.new_zeros(samples, -(-height // stride), -(-width // stride), channels)
        for tap in ctx.taps:
            result[tap.output].addcmul_(maps[tap.input], weight[tap.row, tap.column])
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of the maps and of the weight."""
        maps, weight = ctx.saved_tensors
        of_maps, of_weight = torch.zeros_like(maps), torch.zeros_like(weight)
        for tap in ctx.taps:
            gradient = gradients[0][tap.output]
            of_maps[tap.input].addcmul_(gradient, weight[tap.row, tap.column])
            of_weight[tap.row, tap.column] = (gradient * maps[tap.input]).sum((0, 1, 2))
        return of_maps, of_weight, None


class PointwiseConv2d(nn.Conv2d):
    """A 1 x 1 convolution of stride 1 as a matrix product over the channels."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of shape (N, C, H, W), fastest in channels-last memory, to (N, ``out_channels``, H, W)."""
        return nn.functional.linear(maps.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class SmallDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias that uses :class:`Depthwise` for maps of at most ``SMALL`` pixels."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of shape (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        if maps.shape[2] * maps.shape[3] > SMALL:
            return super().forward(maps)
        weight = self.weight[:, 0].permute(1, 2, 0).contiguous()
        return Depthwise.apply(maps.permute(0, 2, 3, 1), weight, self.stride[0]).permute(0, 3, 1, 2)


def replacement(layer: nn.Module) -> type[nn.Conv2d] | None:
    """The class that computes a layer of torch faster on small maps; None: there is none."""
    if type(layer) is not nn.Conv2d or layer.dilation != (1, 1) or layer.padding_mode != 'zeros':
        return None
    kernel = layer.kernel_size[0]
    if layer.kernel_size == layer.stride == (1, 1) and layer.groups == 1 and layer.padding == (0, 0):
        return PointwiseConv2d
    depthwise = layer.groups == layer.in_channels == layer.out_channels and layer.bias is None
    square = kernel % 2 and layer.kernel_size == (kernel, kernel) and layer.stride[0] == layer.stride[1]
    return SmallDepthwiseConv2d if depthwise and square and layer.padding == (kernel // 2, kernel // 2) else None


def use_small_maps(model: nn.Module) -> int:
    """Replace the convolutions of a model in place; parameters and their names stay. Returns the number of replaced layers."""
    found = [(layer, kind) for layer in model.modules() if (kind := replacement(layer))]
    for layer, kind in found:
        layer.__class__ = kind
    return len(found)

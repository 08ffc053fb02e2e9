"""Convolutions for small feature maps against torch's own."""

import copy

import pytest
import torch
from torch import nn

from tinynet_mm.models import ScaledEfficientNet
from tinynet_mm.training.small_maps import PointwiseConv2d, SmallDepthwiseConv2d, use_small_maps


def outputs_and_gradients(layer, maps):
    """Output, gradient of the input and gradient of the weight, for one gradient of the output."""
    maps = maps.clone().requires_grad_()
    result = layer(maps)
    generator = torch.Generator().manual_seed(1)
    return result, *torch.autograd.grad(
        result, [maps, layer.weight], torch.randn(result.shape, generator=generator, dtype=maps.dtype)
    )


@pytest.mark.parametrize('size', [(1, 1), (2, 2), (3, 3), (1, 4), (2, 3), (4, 4)])
@pytest.mark.parametrize('kernel', [3, 5, 7])
@pytest.mark.parametrize('stride', [1, 2, 3])
def test_depthwise_equals_torch(size, kernel, stride):
    layer = nn.Conv2d(4, 4, kernel, stride, kernel // 2, groups=4, bias=False).double()
    fast = copy.deepcopy(layer)
    assert use_small_maps(fast) == 1 and type(fast) is SmallDepthwiseConv2d
    maps = torch.randn(2, 4, *size, dtype=torch.double)
    for ours, theirs in zip(outputs_and_gradients(fast, maps), outputs_and_gradients(layer, maps), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('bias', [False, True])
def test_pointwise_equals_torch(bias):
    layer = nn.Conv2d(6, 5, 1, bias=bias).double()
    fast = copy.deepcopy(layer)
    assert use_small_maps(fast) == 1 and type(fast) is PointwiseConv2d
    maps = torch.randn(3, 6, 4, 2, dtype=torch.double)
    for ours, theirs in zip(outputs_and_gradients(fast, maps), outputs_and_gradients(layer, maps), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    'layer',
    [
        nn.Conv2d(4, 4, 3, padding=1),
        nn.Conv2d(4, 4, 3, padding=0, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding='same', groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=True),
        nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 4, (3, 1), padding=(1, 0), groups=4, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode='reflect'),
        nn.Conv2d(4, 8, 1, stride=2),
        nn.Conv2d(4, 4, 2, padding=1, groups=4, bias=False),
        nn.Conv2d(4, 8, 1, groups=2),
    ],
)
def test_other_convolutions_stay(layer):
    assert use_small_maps(layer) == 0 and type(layer) is nn.Conv2d


def test_a_network_keeps_its_results_and_its_state():
    torch.manual_seed(0)
    model = ScaledEfficientNet('tinynet_e', out_indices=(-1,)).double().train()
    fast = copy.deepcopy(model)
    assert use_small_maps(fast) > 20
    images = torch.randn(4, 3, 32, 32, dtype=torch.double)
    for ours, theirs in zip(fast(images), model(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert list(fast.state_dict()) == list(model.state_dict())

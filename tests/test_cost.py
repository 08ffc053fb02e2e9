"""The closed form against torch's counter on the built network, to the integer; arrays against scalars; and tools/cost.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tinynet_mm.archs import BASES, PRESETS, Arch, Scaling, preset, scale
from tinynet_mm.cost import Cost, cost, parts, scaled_cost
from tinynet_mm.counting import count_images
from tinynet_mm.models import ScaledEfficientNet, ScaledGhostNet, ScaledResNet, efficientnet, ghostnet, resnet

FAMILIES = {'efficientnet': ScaledEfficientNet, 'resnet': ScaledResNet, 'ghostnet': ScaledGhostNet}


class Classifier(nn.Module):
    """A whole network on the meta device: backbone, global pooling, linear layer."""

    def __init__(self, arch: Arch, classes: int = 1000):
        super().__init__()
        with torch.device('meta'):
            self.backbone = FAMILIES[arch.family](arch, out_indices=(-1,))
            self.fc = nn.Linear(self.backbone.out_channels[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


@pytest.fixture
def only_what_counts(monkeypatch):
    """Norms and activations, which count nothing, do nothing; initialising too: four times as many networks a second."""
    for kind in (nn.BatchNorm2d, nn.SiLU, nn.ReLU):
        monkeypatch.setattr(kind, 'forward', lambda self, x: x)
    for kind in (nn.BatchNorm2d, nn.Conv2d, nn.Linear):
        monkeypatch.setattr(kind, 'reset_parameters', lambda self: None)
    for module in (efficientnet, ghostnet, resnet):
        monkeypatch.setattr(module, 'init_convolutions', lambda m: None)


def draws(seed: int, n: int, fixed_ends: bool = True) -> Scaling:
    """Section 4.2's range."""
    r, w, d = np.random.default_rng(seed).uniform(0.35, 2.8, (3, n))
    return Scaling(r=r, w=w, d=d, fixed_ends=fixed_ends)


def one(scaling: Scaling, index: int) -> Scaling:
    rwd = (float(a[index]) for a in (scaling.r, scaling.w, scaling.d))
    return Scaling(*rwd, fixed_ends=scaling.fixed_ends, ceil_depth=scaling.ceil_depth)


@pytest.mark.parametrize('name', PRESETS)
def test_presets_equal_torchs_counter(name):
    arch = preset(name)
    assert count_images(Classifier(arch), arch.resolution) == cost(arch)


@pytest.mark.parametrize(
    ('base', 'n'), [('efficientnet_b0', 110), ('resnet50', 40), ('resnet18', 10), ('ghostnet_a', 25), ('ghostnet_100', 15)]
)
def test_200_random_scalings_equal_torchs_counter(base, n, only_what_counts):
    for fixed_ends in (True, False):
        scalings = draws(len(base), (n + 1) // 2, fixed_ends)
        for index in range((n + 1) // 2):
            arch = scale(BASES[base], one(scalings, index))
            assert count_images(Classifier(arch), arch.resolution) == cost(arch), one(scalings, index)


def test_another_resolution_and_number_of_classes():
    arch = preset('tinynet_e')
    assert count_images(Classifier(arch, classes=7), 64) == cost(arch, resolution=64, classes=7)
    backbone = Classifier(arch).backbone
    assert count_images(backbone, 320) == cost(arch, resolution=320, classes=0)


@pytest.mark.parametrize('base', BASES)
@pytest.mark.parametrize('rule', [dict(), dict(fixed_ends=False), dict(ceil_depth=True)])
def test_arrays_cost_what_scalars_cost(base, rule):
    r, w, d = np.random.default_rng(1).uniform(0.35, 2.8, (3, 25))
    scalings = Scaling(r=r, w=w, d=d, **rule)
    scalars = [cost(scale(BASES[base], one(scalings, i))) for i in range(25)]
    assert all(type(n) is int for found in scalars for n in found)
    for found in (cost(scale(BASES[base], scalings)), scaled_cost(BASES[base], scalings, chunk=7)):
        assert [Cost(*row) for row in zip(*(a.tolist() for a in found))] == scalars


def test_scaled_cost_broadcasts_and_passes_the_classes_on():
    found = scaled_cost(BASES['efficientnet_b0'], Scaling(r=0.5, w=np.array([0.5, 1.0])), classes=10)
    for index, w in enumerate((0.5, 1.0)):
        assert tuple(a[index] for a in found) == cost(scale(BASES['efficientnet_b0'], Scaling(r=0.5, w=w)), classes=10)


def test_costs_never_fall_when_a_dimension_grows():
    grid = np.linspace(0.35, 2.8, 400)
    for base in BASES.values():
        for name in 'rwd':
            assert np.all(np.diff(scaled_cost(base, Scaling(**{name: grid})).macs) >= 0)


def test_parts_are_named_and_sum_to_the_whole():
    rows = parts(preset('ghostnet_a'))
    names = [name for name, _ in rows]
    assert names[0] == 'stem' and names[1] == 'stage 0 ghost' and names[-3:] == ['head', 'hidden', 'classifier']
    assert sum((c for _, c in rows), Cost(0, 0, 0)) == cost(preset('ghostnet_a'))
    assert dict(rows)['hidden'] == Cost(1680 * 1400, 1681 * 1400, 1400)

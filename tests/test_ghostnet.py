"""ScaledGhostNet against timm: same weights, same features, logits and gradients; and the backbone's arguments."""

import pytest
import timm
import torch
from mmengine.registry import MODELS

from tinynet_mm.models import ScaledGhostNet


def randomized(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model with norms far from the identity, so that a missing norm changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5, generator=generator)
            m.bias.data.uniform_(-0.2, 0.2, generator=generator)
            m.running_mean.uniform_(-0.2, 0.2, generator=generator)
            m.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


@pytest.mark.parametrize('arch, width', [('ghostnet_050', 0.5), ('ghostnet_100', 1.0), ('ghostnet_150', 1.5)])
def test_keys_and_shapes_equal_those_of_timm(arch, width):
    with torch.device('meta'):
        theirs, ours = timm.models.ghostnet._create_ghostnet('ghostnet_100', width=width), ScaledGhostNet(arch)
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith('classifier.')}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize('training', [False, True])
def test_features_logits_and_gradients_equal_those_of_timm(training):
    torch.manual_seed(0)
    theirs, ours = (
        randomized(timm.create_model('ghostnet_100', drop_rate=0.0)),
        ScaledGhostNet('ghostnet_100', out_indices=range(11)),
    )
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(unexpected) == {'classifier.weight', 'classifier.bias'}
    features = []
    for level in theirs.blocks:
        level.register_forward_hook(lambda m, i, out: features.append(out.detach().clone()))
    x = torch.randn(4, 3, 96, 96)
    theirs.train(training), ours.train(training)
    expected, maps = theirs(x), ours(x)
    for a, b in zip(maps, features):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(features) == 10 and maps[10].shape == (4, 1280, 1, 1)
    logits = theirs.classifier(maps[10].mean((2, 3)))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().mean(), m.conv_stem.weight)[0] for y, m in ((logits, ours), (expected, theirs))]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('arch', ['ghostnet_a', dict(r=0.5, w=0.3, d=0.5), dict(base='ghostnet_100', w=0.7, d=1.6)])
def test_declared_channels_and_strides_match_the_maps(arch):
    model = ScaledGhostNet(arch, out_indices=range(11)).eval()
    maps = model(torch.randn(1, 3, 64, 64))
    assert tuple(m.shape[1] for m in maps) == model.out_channels
    assert tuple(64 // m.shape[2] for m in maps[:10]) == model.out_strides[:10]
    assert model.out_strides == (2, 4, 4, 8, 8, 16, 16, 32, 32, 32, 0)


def test_an_odd_number_of_channels_is_exact():
    """The widths of GhostNet-A are multiples of 4, but those of a user-defined table may be odd."""
    table = dict(name='odd', family='ghostnet', resolution=32, stem=9, head=11, hidden=5, divisor=1)
    model = ScaledGhostNet({**table, 'stages': [dict(block='ghost', channels=7, stride=2, expansion=3, se=0.1)]})
    assert model(torch.randn(2, 3, 32, 32))[0].shape == (2, 5, 1, 1)


def test_freezing_norm_eval_drop_path_and_unused_levels():
    with torch.device('meta'):
        model = ScaledGhostNet(dict(w=0.25, d=0.3), out_indices=(6, 9), frozen_stages=7, norm_eval=True, drop_path_rate=0.2)
    model.train()
    trained = {name.split('.')[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'7', '8', '9'} and not hasattr(model, 'conv_head')
    assert not any(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.device('meta'):
        full = ScaledGhostNet('ghostnet_100', drop_path_rate=0.2)
    assert full.blocks[8][-1].drop_path.drop_prob == pytest.approx(0.2 * 15 / 16)


def test_hswish_is_an_act_cfg_and_does_not_change_the_gates():
    model = MODELS.build(dict(type='ScaledGhostNet', arch=dict(w=0.2, d=0.3), act_cfg=dict(type='HSwish')))
    inside_gates = [type(m) for name, m in model.named_modules() if name.endswith('se.act1')]
    assert inside_gates and set(inside_gates) == {torch.nn.ReLU}
    assert sum(isinstance(m, torch.nn.ReLU) for m in model.modules()) == len(inside_gates)
    model(torch.randn(2, 3, 32, 32))[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(arch='ghostnet_e'), 'ghostnet_d'),
        (dict(arch='resnet50'), 'resnet50 is of the family resnet'),
        (dict(out_indices=(11,)), '0 to 10'),
    ],
)
def test_wrong_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ScaledGhostNet(**kwargs)

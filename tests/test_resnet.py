"""ScaledResNet against torchvision: same weights, same features, logits and gradients; and the backbone's arguments."""

import pytest
import torch
import torchvision
from mmengine.registry import MODELS

from tinynet_mm.archs import preset
from tinynet_mm.models import ScaledResNet


def randomized(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """The model with norms far from the identity, so that a missing norm changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.0, generator=generator)
            m.bias.data.uniform_(-0.2, 0.2, generator=generator)
            m.running_mean.uniform_(-0.2, 0.2, generator=generator)
            m.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def logits_of(backbone: torch.nn.Module, classifier: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
    return classifier(backbone(x)[-1].mean((2, 3)))


@pytest.mark.parametrize('name', ['resnet50', 'resnet18'])
def test_keys_equal_those_of_torchvision(name):
    with torch.device('meta'):
        theirs, ours = getattr(torchvision.models, name)(), ScaledResNet(name)
    shapes = {key: value.shape for key, value in theirs.state_dict().items() if not key.startswith('fc.')}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


@pytest.mark.parametrize('training', [False, True])
def test_features_logits_and_gradients_equal_those_of_torchvision(training):
    torch.manual_seed(0)
    theirs, ours = randomized(torchvision.models.resnet50()), ScaledResNet('resnet50', out_indices=(0, 1, 2, 3))
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(unexpected) == {'fc.weight', 'fc.bias'}
    levels = [theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4]
    features = []
    for level in levels:
        level.register_forward_hook(lambda m, i, out: features.append(out.detach().clone()))
    x = torch.randn(2, 3, 96, 96)
    theirs.train(training), ours.train(training)
    expected, maps = theirs(x), ours(x)
    for a, b in zip(maps, features, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    logits = logits_of(ours, theirs.fc, x)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad(y.square().mean(), m.conv1.weight)[0] for y, m in ((logits, ours), (expected, theirs))]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('arch', ['resnet34', dict(r=0.5, w=0.3, d=0.5), dict(base='resnet18', w=0.7, d=1.5)])
def test_declared_channels_and_strides_match_the_maps(arch):
    model = ScaledResNet(arch, out_indices=(0, 1, 2, 3)).eval()
    maps = model(torch.randn(1, 3, 64, 64))
    assert tuple(m.shape[1] for m in maps) == model.out_channels
    assert tuple(64 // m.shape[2] for m in maps) == model.out_strides == (4, 8, 16, 32)


def test_freezing_norm_eval_drop_path_and_unused_levels():
    with torch.device('meta'):
        model = ScaledResNet(dict(w=0.25, d=0.3), out_indices=(1,), frozen_stages=1, norm_eval=True, drop_path_rate=0.2)
    model.train()
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'layer2'} and not hasattr(model, 'layer3')
    assert not any(m.training for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.device('meta'):
        full = ScaledResNet(dict(w=0.25), drop_path_rate=0.2)
    assert full.layer4[-1].drop_path.drop_prob == pytest.approx(0.2 * 15 / 16)


def test_built_from_a_config_with_other_norms_and_activations():
    cfg = dict(type='ScaledResNet', arch='resnet18', norm_cfg=dict(type='GN', num_groups=8), act_cfg=dict(type='HSwish'))
    model = MODELS.build(cfg)
    kinds = {type(m).__name__ for m in model.modules()}
    assert 'GroupNorm' in kinds and 'BatchNorm2d' not in kinds and 'ReLU' not in kinds
    assert model(torch.randn(1, 3, 32, 32))[0].shape == (1, 512, 1, 1)


@pytest.mark.parametrize(
    ('arch', 'message'),
    [
        ('resnet51', 'resnet50'),
        ('tinynet_a', 'tinynet_a is of the family efficientnet'),
        (dict(depth=50), 'depth'),
        (50, 'arch=50'),
    ],
)
def test_wrong_architectures_are_refused(arch, message):
    with pytest.raises(ValueError, match=message):
        ScaledResNet(arch)


def test_a_torchvision_checkpoint_loads_without_conversion(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / 'resnet18.pth')
    model = ScaledResNet('resnet18', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'resnet18.pth')))
    model.init_weights()
    saved = torch.load(tmp_path / 'resnet18.pth', weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
    assert preset('resnet18') == model.arch

"""TinyNet and EfficientNet against timm: same weights, same features, logits and gradients; and the backbone's arguments."""

import pytest
import timm
import torch
from mmengine.registry import MODELS
from torch.nn.functional import linear

from tinynet_mm.models import ScaledEfficientNet, TinyNet

NAMES = ['tinynet_a', 'tinynet_b', 'tinynet_c', 'tinynet_d', 'tinynet_e', 'efficientnet_b0', 'efficientnet_lite0']


def pair(name: str):
    """timm's network with random norms, and our network with its weights and all levels as outputs."""
    torch.manual_seed(0)
    theirs = timm.create_model(name)
    for m in theirs.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 1.5), m.bias.data.uniform_(-0.2, 0.2)
            m.running_mean.uniform_(-0.2, 0.2), m.running_var.uniform_(0.5, 1.5)
    ours = ScaledEfficientNet(name, out_indices=range(8))
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(unexpected) == {'classifier.weight', 'classifier.bias'}
    return theirs, ours


def gradients(loss: torch.Tensor, model: torch.nn.Module) -> list[torch.Tensor]:
    chosen = dict(model.named_parameters())
    names = ('conv_stem.weight', 'blocks.2.0.se.conv_reduce.weight', 'blocks.2.0.conv_dw.weight', 'bn2.bias')
    return torch.autograd.grad(loss, [chosen[name] for name in names if name in chosen])  # Lite0 has no squeeze-excite


@pytest.mark.parametrize('training', [False, True], ids=['eval', 'train'])
@pytest.mark.parametrize('name', NAMES)
def test_equals_timm(name, training):
    theirs, ours = pair(name)
    theirs.train(training), ours.train(training)
    x = torch.randn(2, 3, 96, 96)
    stages = []
    for block in theirs.blocks:
        block.register_forward_hook(lambda m, i, out: stages.append(out))
    theirs.drop_rate = 0.0
    expected, maps = theirs(x), ours(x)
    for ours_map, theirs_map in zip(maps, stages, strict=False):
        torch.testing.assert_close(ours_map, theirs_map, rtol=1e-5, atol=1e-5)
    logits = linear(maps[-1].mean((2, 3)), theirs.classifier.weight, theirs.classifier.bias)
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for a, b in zip(gradients(logits.square().mean(), ours), gradients(expected.square().mean(), theirs)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    buffers = dict(theirs.named_buffers())
    for key, value in ours.named_buffers():
        torch.testing.assert_close(value, buffers[key], rtol=1e-5, atol=1e-5)


def test_a_timm_checkpoint_loads_by_init_cfg(tmp_path):
    theirs = timm.create_model('tinynet_e')
    torch.save(theirs.state_dict(), tmp_path / 'tinynet_e.pth')
    model = MODELS.build(
        dict(type='TinyNet', arch='e', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'tinynet_e.pth')))
    )
    model.init_weights()
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize('arch', ['tinynet_b', 'efficientnet_b-4', dict(w=0.4, d=0.5), dict(w=1.3, d=1.4, fixed_ends=False)])
def test_declared_channels_and_strides_match_the_maps(arch):
    model = ScaledEfficientNet(arch, out_indices=(0, 2, 4, 7)).eval()
    for out, channels, stride in zip(model(torch.randn(1, 3, 128, 128)), model.out_channels, model.out_strides, strict=True):
        assert out.shape == (1, channels, 128 // stride, 128 // stride)


def test_levels_after_the_last_output_are_not_built():
    small, complete = TinyNet('e', out_indices=(3,)), TinyNet('e')
    assert not hasattr(small, 'conv_head') and len(small.blocks) == 4 < len(complete.blocks)
    small(torch.randn(1, 3, 64, 64))[0].sum().backward()
    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.parametrize('frozen', [-1, 0, 3, 8])
def test_frozen_stages_keep_weights_and_statistics(frozen):
    model = TinyNet('e', frozen_stages=frozen)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or [torch.zeros(1)], lr=0.1)
    model.train()
    loss = model(torch.randn(4, 3, 64, 64))[0].square().mean()
    if loss.requires_grad:
        loss.backward()
    optimizer.step()
    kept = (['conv_stem', 'bn1'] if frozen >= 0 else []) + [f'blocks.{k}.' for k in range(min(frozen, 7))]
    kept = tuple(kept + ['conv_head', 'bn2'] * (frozen == 8))
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if not (kept and k.startswith(kept))}


def test_norm_eval_keeps_statistics_but_trains_weights():
    model = TinyNet('e', norm_eval=True).train()
    before = model.bn1.running_mean.clone()
    model(torch.randn(2, 3, 64, 64))[0].sum().backward()
    assert torch.equal(model.bn1.running_mean, before) and model.bn1.weight.grad is not None


def test_norms_activations_and_stochastic_depth_are_configured():
    model = TinyNet('e', norm_cfg=dict(type='BN', momentum=0.01, eps=1e-3), act_cfg=dict(type='ReLU'), drop_path_rate=0.2)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {(m.momentum, m.eps) for m in norms} == {(0.01, 1e-3)}
    assert not any(isinstance(m, torch.nn.SiLU) for m in model.modules())
    rates = [m.drop_prob for m in model.modules() if type(m).__name__ == 'DropPath']
    assert rates == sorted(rates) and rates[0] > 0 and rates[-1] < 0.2


@pytest.mark.parametrize(
    'arguments, words',
    [
        (dict(arch='tinynet_f'), '[Dd]id you mean tinynet_'),
        (dict(arch='f'), 'unknown architecture'),
        (dict(arch=dict(r=0.5, width=1)), "unknown key 'width'"),
        (dict(arch=dict(r=-1)), 'positive'),
        (dict(out_indices=(4, 9)), 'ascending levels from 0 to 7'),
        (dict(frozen_stages=9), 'frozen_stages=9'),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TinyNet(**arguments)


def test_residual_blocks_start_as_the_identity():
    model = ScaledEfficientNet(dict(r=1, w=0.5, d=1), zero_init_residual=True)
    skips = [block for block in model.blocks.modules() if getattr(block, 'has_skip', False)]
    assert len(skips) == 9
    for block in skips:
        x = torch.randn(2, (block.conv_pw if hasattr(block, 'bn3') else block.conv_dw).in_channels, 8, 8)
        assert torch.equal(block(x), x)
    assert all(torch.all(stage[0].conv_pw.weight != 0) for stage in model.blocks)
    plain = ScaledEfficientNet(dict(r=1, w=0.5, d=1))
    assert all(torch.all(m.weight == 1) for m in plain.modules() if isinstance(m, torch.nn.BatchNorm2d))

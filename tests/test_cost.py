"""The closed form against torch's counter on the built network, to the integer; arrays against scalars; and tools/cost.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from test_ssdlite import detector
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tinynet_mm.archs import BASES, PRESETS, Arch, Scaling, preset, scale
from tinynet_mm.cost import Cost, cost, parts, scaled_cost
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab.configs import input_size
from tinynet_mm.mmlab.counting import ELSEWHERE, count, count_images, count_parts
from tinynet_mm.models import ScaledEfficientNet, ScaledGhostNet, ScaledResNet

FAMILIES = {'efficientnet': ScaledEfficientNet, 'resnet': ScaledResNet, 'ghostnet': ScaledGhostNet}


class Classifier(nn.Module):
    """A complete network on the meta device: backbone, global pooling, linear layer."""

    def __init__(self, arch: Arch, classes: int = 1000):
        super().__init__()
        with torch.device('meta'):
            self.backbone = FAMILIES[arch.family](arch, out_indices=(-1,))
            self.fc = nn.Linear(self.backbone.out_channels[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


def draws(seed: int, n: int, fixed_ends: bool = True) -> Scaling:
    """Random scalings in the range of section 4.2."""
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
def test_200_random_scalings_equal_torchs_counter(base, n, only_counted_layers):
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
    assert scaled_cost(BASES['resnet50'], Scaling()).macs.tolist() == [cost(BASES['resnet50']).macs]


def test_costs_never_fall_when_a_dimension_grows():
    """The bisection of the solver needs this. With fixed ends there is one exception: where the first stage becomes as wide as
    the stem, GhostNet-A has no projection in that stage, 0.2 % of the network."""
    grid = np.linspace(0.35, 2.8, 400)
    for base in BASES.values():
        for name in 'rwd':
            assert np.all(np.diff(scaled_cost(base, Scaling(**{name: grid}, fixed_ends=False)).macs) >= 0)
    dip = scaled_cost(BASES['ghostnet_a'], Scaling(w=np.array([0.928, 0.929]))).macs
    assert 0 < dip[0] - dip[1] < 0.003 * dip[0]


def test_parts_are_named_and_sum_to_the_total():
    rows = parts(preset('ghostnet_a'))
    names = [name for name, _ in rows]
    assert names[0] == 'stem' and names[1] == 'stage 0 ghost' and names[-3:] == ['head', 'hidden', 'classifier']
    assert sum((c for _, c in rows), Cost(0, 0, 0)) == cost(preset('ghostnet_a'))
    assert dict(rows)['hidden'] == Cost(1680 * 1400, 1681 * 1400, 1400)


def test_parts_of_a_built_module_sum_to_its_total():
    module = Classifier(preset('tinynet_e'))
    image = torch.empty(1, 3, 106, 106, device='meta')
    rows = count_parts(module, lambda: module.eval()(image), lambda name: name.split('.')[0])
    assert set(rows) == {'backbone', 'fc'} and rows['fc'] == Cost(1280 * 1000, 1281 * 1000, 1000)
    assert rows['backbone'] == cost(preset('tinynet_e'), classes=0)


def test_products_outside_of_layers_are_counted_too():
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.zeros(1, 5, 8)
    rows = count_parts(module, lambda: module(x, x, x), lambda name: name)
    assert rows[ELSEWHERE].macs > 0
    assert sum(c.macs for c in rows.values()) == count(module, lambda: module(x, x, x)).macs == 5 * 8 * 8 * 4 + 5 * 5 * 8 * 2


@pytest.mark.parametrize(
    ('pipeline', 'size'),
    [
        ([dict(type='Resize', scale=(1333, 800)), dict(type='PackDetInputs')], (800, 1333)),
        ([dict(type='ResizeEdge', scale=256), dict(type='CenterCrop', crop_size=224)], (224, 224)),
        ([dict(type='SSDWarp', size=320)], (320, 320)),
    ],
)
def test_the_input_of_a_config_is_the_output_of_its_test_pipeline(pipeline, size):
    assert input_size(Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))) == size
    with pytest.raises(ValueError, match='--resolution'):
        input_size(Config(dict(model=dict())))


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tools_cost', Path(__file__).parents[1] / 'tools' / 'cost.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_tool_prints_presets_multipliers_and_stages(tool, capsys):
    assert tool(['tinynet_d', 'efficientnet_b0:r=0.68,w=0.54,d=0.695', '--stages']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[1:] == ['152x152', '2.338', '51.58', '1.418'] and lines[2].split()[0] == 'stem'
    totals = [line.split()[1:] for line in lines if line.startswith(('tinynet', 'efficientnet'))]
    assert totals[0] == totals[1] and len(lines) == 1 + 2 * 11


def test_tool_builds_and_counts_a_config(tool, capsys, tmp_path):
    data = dict(dataset=dict(pipeline=[dict(type='CenterCrop', crop_size=106)]))
    head = dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=1280)
    model = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='TinyNet', arch='e'),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=head,
    )
    cfg = dict(custom_imports=dict(imports=['tinynet_mm']), default_scope='mmpretrain', model=model, test_dataloader=data)
    Config(cfg).dump(tmp_path / 'e.py')
    assert tool([str(tmp_path / 'e.py'), 'tinynet_e']) == 0
    of_config, of_preset = (line.split()[1:] for line in capsys.readouterr().out.splitlines()[1:])
    assert of_config == of_preset
    tool([str(tmp_path / 'e.py'), '--resolution', '64', '--stages'])
    assert any(line.startswith('  backbone.blocks.6 ') for line in capsys.readouterr().out.splitlines())


def test_tool_counts_a_detector_at_its_own_input_and_at_another(tool, capsys):
    config = str(Path(__file__).parents[1] / 'configs' / 'ssdlite_tinynet_e_coco.py')
    macs = []
    for options in ([], ['--input-size', '320']):
        tool([config, *options])
        size, *_, found, _ = capsys.readouterr().out.splitlines()[1].split()[1:]
        macs.append(float(found))
        assert size == ('320x320' if options else '512x512')
    assert macs[1] == pytest.approx(macs[0] * (320 / 512) ** 2, rel=0.05)


@pytest.mark.parametrize('classes', [80, 3])
def test_tool_counts_the_light_detector_as_torch_does(tool, capsys, classes):
    assert tool(['rtmdet_tinynet_e_coco', *(() if classes == 80 else ('--classes', str(classes)))]) == 0
    size, *_, params, found, _ = capsys.readouterr().out.splitlines()[1].split()[1:]
    model = detector('configs/rtmdet_tinynet_e_coco.py', 320, classes=classes).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 320, 320))
    assert size == '320x320' and float(found) == pytest.approx(counter.get_total_flops() / 2e6, abs=0.01)
    assert float(params) == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6, abs=0.001)


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['tinynet_f'], 'Did you mean'),
        (['efficientnet_b0:w=wide'], 'w=wide is not a number'),
        (['efficientnet_b0:q=1'], "unknown key 'q'"),
        (['tinynet_d', '--resolution', '0'], 'give at least one pixel'),
    ],
)
def test_tool_refuses_wrong_arguments(tool, argv, message):
    with pytest.raises(ValueError, match=message):
        tool(argv)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['efficientnet_b0:r=1,r=2'], 'r is given twice'),
        (['efficientnet_b0:w=２'], 'is not a number'),
        (['rtmdet_tinynet_e_coc'], 'Did you mean rtmdet_tinynet_e_coco'),
        (['rtmdet_tinynet_e_coco', '--resolution', '336'], '336 pixels does not fit LightHead: give a multiple of 32'),
        (['tinynet_a', '--classes', '-5'], 'classes=-5: give 0'),
        (['rtmdet_tinynet_e_coco', '--classes', '0'], 'give a config 1 or more'),
    ],
)
def test_the_cost_tool_refuses(tool, arguments, words):
    with pytest.raises(UserError, match=words):
        tool(arguments)

"""Checkpoints: equal logits in timm and here from equal weights, in both directions; slim files; no code of a pickle runs."""

import hashlib
import re
import runpy
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import tinynet_mm  # noqa: F401
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import reading, weights
from tinynet_mm.mmlab.checkpoints import pretrained_parts

TOOLS = Path(__file__).parents[1] / 'tools'
# ours -> (timm's name, our backbone, width of the head)
NETWORKS = {
    'tinynet_e': ('tinynet_e', dict(type='TinyNet', arch='e'), 1280),
    'ghostnet_100': ('ghostnet_100', dict(type='ScaledGhostNet', arch='ghostnet_100'), 1280),
    'resnet18': ('resnet18', dict(type='ScaledResNet', arch='resnet18'), 512),
}


def randomise(model):
    """Give a model weights with distinct logits and norms with statistics unlike those of a new network."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.ndim == 1 and value.dtype.is_floating_point:
            value.add_(torch.randn(value.shape, generator=generator) * 0.1)
    return model.eval()


def classifier(name, num_classes=7):
    """Build mmpretrain's ImageClassifier with our backbone, as in the ImageNet configs."""
    _, backbone, width = NETWORKS[name]
    head = dict(type='LinearClsHead', num_classes=num_classes, in_channels=width)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(type='ImageClassifier', backbone=backbone, neck=dict(type='PoolDropout'), head=head)).eval()


def timms(name, num_classes=7):
    return randomise(timm.create_model(NETWORKS[name][0], num_classes=num_classes))


def logits(model, side=64):
    with torch.no_grad():
        return model(torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize('name', NETWORKS)
def test_conversion_from_timm_and_back_keeps_the_logits(name, tmp_path):
    reference, ours = timms(name), classifier(name)
    torch.save(reference.state_dict(), tmp_path / 'timm.pth')
    message = weights.convert(tmp_path / 'timm.pth', tmp_path / 'ours.pth', 'ours')
    assert f'weights of {name}, 7 classes' in message and "timm's keys, which are also those of the authors" in message
    ours.load_state_dict(torch.load(tmp_path / 'ours.pth', weights_only=True)['state_dict'])  # strict
    torch.testing.assert_close(logits(ours), logits(reference), rtol=1e-5, atol=1e-5)

    torch.save(dict(state_dict=ours.state_dict(), meta=dict(epoch=3)), tmp_path / 'trained.pth')
    message = weights.convert(tmp_path / 'trained.pth', tmp_path / 'back.safetensors', 'timm', name)
    assert "an mmpretrain classifier's keys" in message
    other = timm.create_model(NETWORKS[name][0], num_classes=7).eval()
    other.load_state_dict(reading.read(tmp_path / 'back.safetensors'))  # strict
    torch.testing.assert_close(logits(other), logits(reference), rtol=0, atol=0)


def test_presets_are_identified_by_their_shapes():
    for name in ('tinynet_d', 'efficientnet_b-4', 'ghostnet_d', 'resnet50_b'):
        shapes = weights.expected_shapes(name)
        assert weights.identify({key: torch.empty(shape, device='meta') for key, shape in shapes.items()}) == name
    assert weights.identify({'conv_stem.weight': torch.empty(5, 3, 3, 3)}) is None


def test_other_widths_and_unexpected_keys_are_listed(tmp_path):
    state = timms('tinynet_e').state_dict()
    torch.save(state, tmp_path / 'e.pth')
    with pytest.raises(ValueError, match=r'fit tinynet_d, .*: \d+ of another shape: .* \(56, .*not \(64, .*It is tinynet_e'):
        weights.convert(tmp_path / 'e.pth', tmp_path / 'out.pth', 'ours', 'tinynet_d')
    state['extra.weight'] = state.pop('conv_head.weight')
    with pytest.raises(ValueError, match=r'1 missing: conv_head.weight; 1 unexpected: extra.weight. It is none of our presets'):
        weights.check_preset(state, 'tinynet_e', 'stray.pth')
    torch.save(state, tmp_path / 'stray.pth')
    with pytest.raises(ValueError, match='fits none of our presets; give the name of its network'):
        weights.convert(tmp_path / 'stray.pth', tmp_path / 'out.pth', 'ours')
    assert not (tmp_path / 'out.pth').exists()


class Harmful:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_code_runs_only_with_trust(tmp_path):
    torch.save(dict(state_dict={'conv_stem.weight': torch.ones(1)}, args=Harmful(tmp_path / 'ran')), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match=r'evil.pth contains .*can run any code.*allow it: --trust, or TORCH_FORCE_NO'):
        reading.read(tmp_path / 'evil.pth')
    assert not (tmp_path / 'ran').exists()
    reading.read(tmp_path / 'evil.pth', trust=True)
    assert (tmp_path / 'ran').exists()


def test_getattr_in_a_pickle_is_refused(tmp_path):
    class Sneaky:
        def __reduce__(self):
            return getattr, (torch.Tensor, 'numpy')

    torch.save(dict(state_dict={}, args=Sneaky()), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match='can run any code'):
        reading.read(tmp_path / 'evil.pth')


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint at .*none.pth: train first'):
        reading.read(tmp_path / 'none.pth')
    for name, content in (('text.pth', b'hello'), ('cut.safetensors', b'\x01'), ('empty.pth', b'')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match='not a checkpoint that can be read'):
            reading.read(tmp_path / name)
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='contains a list, not a dict of weights'):
        reading.read(tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='none of these layouts: an mmpretrain .* Its keys are encoder.weight'):
        weights.unpack({'encoder.weight': torch.ones(1)})


def training_checkpoint():
    """Return what MMEngine saves with an EMAHook: the average as state_dict, the raw weights, the optimizer and more."""
    model = classifier('tinynet_e')
    average = {key: value.clone() for key, value in randomise(model).state_dict().items()}
    raw = {f'module.{key}': value + 1 for key, value in average.items()}
    meta = dict(epoch=2, cfg='model = dict()', dataset_meta=dict(classes=('a', 'b')), hostname='mine', time='now')
    optimizer = dict(state={0: dict(square_avg=torch.ones(1000))})
    return dict(state_dict=average, ema_state_dict={'steps': torch.tensor(8), **raw}, optimizer=optimizer, meta=meta)


def test_published_files_are_slim_averaged_and_named_by_hash(tmp_path):
    content = training_checkpoint()
    torch.save(content, tmp_path / 'epoch_2.pth')
    pth, tensors = weights.publish(tmp_path / 'epoch_2.pth', tmp_path / 'out', 'tinynet_e_in1k')
    for path in (pth, tensors):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        assert path.name == f'tinynet_e_in1k-{digest}{path.suffix}'
    slim = torch.load(pth, weights_only=True)
    assert set(slim) == {'state_dict', 'meta'} and slim['meta']['dataset_meta'] == dict(classes=('a', 'b'))
    assert 'hostname' not in slim['meta'] and pth.stat().st_size < 0.6 * (tmp_path / 'epoch_2.pth').stat().st_size
    torch.testing.assert_close(slim['state_dict'], content['state_dict'])
    torch.testing.assert_close(reading.read(tensors)['state_dict'], content['state_dict'])
    assert reading.read(tensors)['meta']['dataset_meta']['classes'] == ['a', 'b']
    assert 'cfg' not in slim['meta']
    assert weights.publish(tmp_path / 'epoch_2.pth', tmp_path / 'again', 'tinynet_e_in1k')[0].name == pth.name
    raw = reading.read(weights.publish(tmp_path / 'epoch_2.pth', tmp_path / 'raw', raw=True)[0])['state_dict']
    torch.testing.assert_close(raw, {key: value + 1 for key, value in content['state_dict'].items()})


@pytest.mark.parametrize('name', ['../x', 'a/b', '/tmp/x'])
def test_a_published_name_has_no_folder(tmp_path, name):
    torch.save(training_checkpoint(), tmp_path / 'epoch_2.pth')
    with pytest.raises(UserError, match='without a folder'):
        weights.publish(tmp_path / 'epoch_2.pth', tmp_path / 'out', name)
    assert [path.name for path in tmp_path.iterdir()] == ['epoch_2.pth']


def test_layouts_and_averages_are_recognised():
    timm_state = {'conv_stem.weight': torch.zeros(1), 'classifier.weight': torch.zeros(9, 1)}
    trained_by_timm = dict(arch='x', state_dict=timm_state, state_dict_ema={k: v + 1 for k, v in timm_state.items()})
    found = weights.unpack(trained_by_timm)
    assert (found.layout, found.averaged, found.num_classes) == ('timm', True, 9) and found.tensors['conv_stem.weight'] == 1
    assert weights.unpack(trained_by_timm, raw=True).tensors['conv_stem.weight'] == 0
    detector = {'module.backbone.conv_stem.weight': torch.zeros(1), 'module.bbox_head.x': torch.zeros(1)}
    found = weights.unpack(dict(state_dict=detector))
    assert (found.layout, found.num_classes, list(found.tensors)) == ('detector', None, ['conv_stem.weight'])


@pytest.mark.parametrize('letter', 'abcde')
def test_configs_start_from_the_authors_weights_as_timm_lists_them(letter):
    cfg = Config.fromfile(TOOLS.parent / 'configs' / f'ssdlite_tinynet_{letter}_coco.py')
    (part,) = pretrained_parts(cfg)
    assert part['init_cfg']['checkpoint'] == timm.get_pretrained_cfg(f'tinynet_{letter}').url


LUKEMELAS = {  # a key of efficientnet_pytorch -> the tensor of timm's EfficientNet-Lite0 or B0 that it names
    '_conv_stem.weight': 'conv_stem.weight',
    '_bn0.running_var': 'bn1.running_var',
    '_blocks.0._depthwise_conv.weight': 'blocks.0.0.conv_dw.weight',
    '_blocks.0._project_conv.weight': 'blocks.0.0.conv_pw.weight',
    '_blocks.0._bn2.bias': 'blocks.0.0.bn2.bias',
    '_blocks.1._expand_conv.weight': 'blocks.1.0.conv_pw.weight',
    '_blocks.1._bn0.weight': 'blocks.1.0.bn1.weight',
    '_blocks.1._project_conv.weight': 'blocks.1.0.conv_pwl.weight',
    '_blocks.2._depthwise_conv.weight': 'blocks.1.1.conv_dw.weight',
    '_blocks.2._se_reduce.bias': 'blocks.1.1.se.conv_reduce.bias',
    '_blocks.2._project_conv.weight': 'blocks.1.1.conv_pwl.weight',
    '_blocks.3._bn1.running_mean': 'blocks.2.0.bn2.running_mean',
    '_blocks.3._project_conv.weight': 'blocks.2.0.conv_pwl.weight',
    '_bn1.weight': 'bn2.weight',
    '_conv_head.weight': 'conv_head.weight',
    '_fc.bias': 'classifier.bias',
}


def test_keys_of_efficientnet_pytorch_are_renamed_to_those_of_timm():
    # the first four blocks of B0; the first one has no expansion, so its parts have other names
    theirs = timm.create_model('efficientnet_b0').state_dict()
    whole = {ours: theirs[name] for ours, name in LUKEMELAS.items()}
    whole |= {f'_blocks.{i}._expand_conv.weight': theirs[f'blocks.{p}.conv_pw.weight'] for i, p in ((2, '1.1'), (3, '2.0'))}
    found = weights.unpack(whole)
    assert found.layout == 'lukemelas' and len(found.tensors) == len(whole)
    for key, name in LUKEMELAS.items():
        assert found.tensors[name] is whole[key], key


def test_tools_convert_and_publish(tmp_path, capsys):
    torch.save(training_checkpoint(), tmp_path / 'epoch_2.pth')
    convert = runpy.run_path(str(TOOLS / 'convert_weights.py'))['main']
    assert convert([str(tmp_path / 'epoch_2.pth'), str(tmp_path / 't.pth'), '--to', 'timm', '--arch', 'tinynet_e']) == 0
    assert 'averaged weights of tinynet_e' in capsys.readouterr().out
    timm.create_model('tinynet_e', num_classes=7).load_state_dict(torch.load(tmp_path / 't.pth', weights_only=True))
    publish = runpy.run_path(str(TOOLS / 'publish.py'))['main']
    assert publish([str(tmp_path / 'epoch_2.pth'), '--out-dir', str(tmp_path / 'w')]) == 0
    assert re.search(r'epoch_2-[0-9a-f]{8}\.pth: \d+\.\d MB', capsys.readouterr().out)

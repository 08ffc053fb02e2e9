"""Budgets in milliseconds: the model of a config with another backbone, in every runtime, and what is refused."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from tinynet_mm.archs import EFFICIENTNET_B0, Scaling, preset, scale
from tinynet_mm.bench.targets import bare_classifier, connect, contenders, of_config
from tinynet_mm.cost import cost
from tinynet_mm.deploy import latency
from tinynet_mm.deploy.clock import RUNTIMES
from tinynet_mm.deploy.export import make_graph, random_images
from tinynet_mm.deploy.latency import check_runtime, compare, latency_meter, prepare
from tinynet_mm.errors import MissingPackageError, UserError
from tinynet_mm.formula import TinyFormula
from tinynet_mm.formula.configs import write_configs
from tinynet_mm.mmlab.checkpoints import build_model
from tinynet_mm.mmlab.configs import load_config

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
SMALL = scale(EFFICIENTNET_B0, Scaling(r=0.2, w=0.3, d=0.3))


def write_detector(folder: Path, base: str = 'ssdlite_tinynet_e_coco.py', model: str = '') -> str:
    """A config of a detector for 128 x 128 pixels and three classes."""
    path = folder / 'detector.py'
    path.write_text(
        f'_base_ = {str(CONFIGS / base)!r}\n'
        f'model = dict(bbox_head=dict(input_size=128, num_classes=3), {model})\n'
        "pipeline = [dict(type='LoadImageFromFile'), dict(type='mmdet.Resize', scale=(128, 128), keep_ratio=False)]\n"
        'test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    return str(path)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return of_config(write_detector(tmp_path_factory.mktemp('detector')))


def params(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


# The model of a network -------------------------------------------------------------------------------------------------------


def test_a_detector_with_another_backbone_is_that_of_its_own_config(detector):
    """The config of TinyNet-E with TinyNet-D in it has the parameters of the config of TinyNet-D."""
    model, spec = detector.build(preset('tinynet_d'))
    cfg = load_config(str(CONFIGS / 'ssdlite_tinynet_d_coco.py'))
    cfg.model.bbox_head.num_classes = 3
    expected = build_model(cfg)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in expected.state_dict().items()}
    assert model.backbone.out_indices == expected.backbone.out_indices
    assert detector.detector and detector.own == preset('tinynet_e') and detector.base == EFFICIENTNET_B0
    assert 'the detector of detector.py with this backbone, input 128x128 px' in detector.name


def test_the_light_detector_with_another_backbone_is_that_of_its_own_config():
    found = of_config(str(CONFIGS / 'rtmdet_tinynet_e_coco.py'))
    model, spec = found.build(preset('tinynet_d'))
    expected = build_model(load_config(str(CONFIGS / 'rtmdet_tinynet_d_coco.py')))
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in expected.state_dict().items()}
    assert found.detector and found.base == EFFICIENTNET_B0 and (spec.height, spec.post) == (320, 'decoded')


@pytest.mark.parametrize('r', [0.3, 1.2])
def test_a_detector_keeps_the_input_of_its_config(detector, r):
    model, spec = detector.build(scale(EFFICIENTNET_B0, Scaling(r=r, w=0.3, d=0.3)))
    assert (spec.height, spec.width, spec.post, spec.batch) == (128, 128, 'decoded', 1)
    graph, _, spec = make_graph(model, spec)
    boxes, scores = graph(random_images(spec, 1))
    assert boxes.shape == (1, sum(spec.levels), 4) and scores.shape == (1, sum(spec.levels), 3)


def test_activation_and_squeeze_excite_are_those_of_the_config(tmp_path):
    """In the measured model, in the counted cost, and in the configs that are written for the solution."""
    target = of_config(write_detector(tmp_path, 'ssdlite_tinynet_d_lite_coco.py'))
    assert target.base.activation == 'ReLU6' and {stage.se for stage in target.base.stages} == {0}
    model, _ = target.build(preset('tinynet_e'))
    assert {'SqueezeExcite', 'ReLU6'} < {type(m).__name__ for m in model.backbone.modules()}  # of the network; of the config
    solution = TinyFormula.published().solve(60e6, target.base)
    model, _ = target.build(solution.arch)
    classifier, ssdlite, light = (build_model(load_config(str(path))) for path in write_configs(solution, tmp_path / 'new'))
    assert params(classifier) == solution.cost.params
    for backbone in (model.backbone, ssdlite.backbone, light.backbone, classifier.backbone):
        kinds = {type(m).__name__ for m in backbone.modules()}
        assert (
            'ReLU6' in kinds and not {'SqueezeExcite', 'SiLU', 'Swish'} & kinds and backbone.arch.stages == solution.arch.stages
        )


@pytest.mark.parametrize(
    'config, side, classes',
    [
        ('imagenet/tinynet_d_in1k.py', 152, 1000),
        ('imagenet/resnet50_a_in100.py', 192, 100),
        ('cifar10/tinynet_e_cifar10.py', 48, 10),
    ],
)
def test_a_classifier_has_the_input_of_the_network(config, side, classes):
    target = of_config(str(CONFIGS / config), classes=7)
    arch = scale(target.base, Scaling(r=0.475 if side == 48 else target.own.resolution / 224, w=0.5, d=0.5))
    model, spec = target.build(arch)
    assert spec.height == spec.width == arch.resolution == side and spec.post == 'logits'
    assert target.classes == classes and params(model) == cost(arch, classes=classes).params
    graph, *_ = make_graph(model, spec)
    assert graph(random_images(spec, 1)).shape == (1, classes)


def test_a_base_that_is_given_is_not_changed():
    config = str(CONFIGS / 'cifar10' / 'tinynet_e_cifar10.py')
    assert of_config(config).base.resolution == 102 and of_config(config, 'efficientnet_b0').base == EFFICIENTNET_B0


@pytest.mark.parametrize(
    'parts, expected',
    [
        (dict(head=dict(in_channels=8)), dict(head=dict(in_channels=9))),
        (
            dict(neck=dict(type='GlobalAveragePooling'), head=dict(in_channels=8)),
            dict(neck=dict(type='GlobalAveragePooling'), head=dict(in_channels=9)),
        ),
        (
            dict(neck=dict(in_channels=[4, 8], out_channels=8), bbox_head=dict(in_channels=8)),
            dict(neck=dict(in_channels=[5, 9], out_channels=8), bbox_head=dict(in_channels=8)),
        ),
        (
            dict(neck=dict(in_channels=(4, 8), out_channels=(4, 8, 16)), bbox_head=dict(in_channels=(4, 8, 16))),
            dict(neck=dict(in_channels=(5, 9), out_channels=(5, 9, 16)), bbox_head=dict(in_channels=(5, 9, 16))),
        ),
        (
            dict(neck=[dict(in_channels=[4, 8], out_channels=8), dict(in_channels=8)]),
            dict(neck=[dict(in_channels=[5, 9], out_channels=8), dict(in_channels=8)]),
        ),
    ],
    ids=['head', 'pooling and head', 'pyramid', 'SSDNeck', 'two necks'],
)
def test_widths_of_neck_and_head(parts, expected):
    model = ConfigDict(parts)
    connect(model, (4, 8), (5, 9), 'config.py')
    assert model.to_dict() == expected


def test_widths_that_do_not_fit_the_config_are_refused():
    with pytest.raises(UserError, match=r'config.py: FPN has in_channels=\(4, 7\), but its input has \(4, 8\)'):
        connect(ConfigDict(neck=dict(type='FPN', in_channels=(4, 7))), (4, 8), (5, 9), 'config.py')


# Runtimes ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['classifier', 'detector'])
@pytest.mark.parametrize('runtime', RUNTIMES)
def test_every_runtime_computes_what_the_model_does(tmp_path, detector, runtime, kind, monkeypatch):
    for name in RUNTIMES[runtime]:
        pytest.importorskip(name)
    if runtime == 'compile':  # compiling takes a minute; what follows is the same for any function
        monkeypatch.setattr(torch, 'compile', lambda function, dynamic: function)
    model, spec = (detector if kind == 'detector' else bare_classifier(EFFICIENTNET_B0, 10)).build(SMALL)
    network = prepare(model.train(), spec, runtime, 1, tmp_path)
    images = random_images(network.spec, 1)
    graph, names, _ = make_graph(model.eval(), spec)
    with torch.no_grad():
        expected = graph(images) if kind == 'detector' else [graph(images)]
    found = network.run(images.numpy())
    assert set(found) == set(names)
    assert network.spec.precision == ('int8' if runtime.endswith('int8') else 'fp32')
    for name, value in zip(names, expected):
        if runtime.endswith('int8'):  # calibrated on random images: only the operators count
            assert found[name].shape == tuple(value.shape) and np.isfinite(found[name]).all()
            continue
        assert np.abs(found[name] - value.numpy()).max() <= 1e-3 * value.abs().max()


def test_a_network_is_compiled_once(tmp_path, monkeypatch):
    """With torch's own tracing, and a backend that counts graphs in place of the compiler."""
    graphs, original = [], torch.compile
    monkeypatch.setattr(
        torch, 'compile', lambda f, dynamic: original(f, dynamic=dynamic, backend=lambda g, _: graphs.append(g) or g)
    )
    model, spec = bare_classifier(EFFICIENTNET_B0, 10).build(SMALL)
    network = prepare(model, spec, 'compile', 1, tmp_path)
    for _ in range(2):
        network.run(random_images(network.spec, 1).numpy())
    assert len(graphs) == 1


def test_the_meter_measures_each_network_once_and_says_what_it_measured(detector, monkeypatch):
    """With a clock of 1 ms for 10 M multiply-adds of the classifier."""
    runtimes, notes = [], []

    def fake_prepare(model, spec, runtime, threads, folder):
        runtimes.append(runtime)
        return latency.Network(spec, lambda images: model)

    monkeypatch.setattr(latency, 'prepare', fake_prepare)
    monkeypatch.setattr(latency, 'least_ms', lambda network, threads: cost(network.run(None).backbone.arch).macs / 1e7)
    meter = latency_meter(detector.build, 'eager', 1, detector.name, notes.append)
    assert meter.measure(SMALL) == meter.measure(SMALL) == cost(SMALL).macs / 1e7
    assert runtimes == ['eager'] and len(notes) == 1 and ' ms at 128x128 px with widths ' in notes[0]
    for part in (detector.name, f'torch {torch.__version__.partition("-")[0]} eager', '1 thread(s)'):
        assert part in meter.protocol
    with pytest.raises(UserError, match=r'1.00 ms is outside the range .* \(the detector of detector.py .* eager, 1 thread'):
        TinyFormula.published().solve(1, detector.base, meter)


def test_the_threads_of_torch_are_set_while_it_measures(detector, monkeypatch):
    used = []
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(latency, 'least_ms', lambda network, threads: used.append(torch.get_num_threads()) or 1.0)
    latency_meter(detector.build, 'eager').measure(SMALL)
    assert (used, torch.get_num_threads()) == ([1], 2)
    torch.set_num_threads(before)


def test_a_report_times_the_network_next_to_that_of_the_config(detector):
    solution = TinyFormula.published().solve(30e6)
    found = contenders(detector, solution)
    assert list(found) == ['THIS NETWORK, untrained', 'the network of the config']
    mine, own = (model.backbone.arch for model, _ in found.values())
    assert mine == solution.arch and own == preset('tinynet_e')
    rows = compare(found, 'eager', runs=1, warmup=0)
    assert {(row.height, row.width, row.batch, row.threads) for row in rows.values()} == {(128, 128, 1, 1)}
    classifier = of_config(str(CONFIGS / 'imagenet' / 'tinynet_e_in1k.py'))
    names = list(contenders(classifier, solution))
    assert names[:2] == list(found) and 'TinyNet-E, 59.9 % in the paper' in names[2:]
    assert 'the network of the config' not in contenders(bare_classifier(EFFICIENTNET_B0), solution)


# Refused ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'config, base, message',
    [
        ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', None, 'has ResNet as its backbone, which the formula does not scale'),
        (str(CONFIGS / '_base_' / 'ssdlite_coco.py'), None, 'has nothing as its backbone'),
        (str(CONFIGS / 'ssdlite_tinynet_e_coco.py'), 'resnet50', 'the base resnet50 is a resnet, but the backbone of ssdlite_'),
        (str(CONFIGS / 'ssdlite_tinynet_e_coco.py'), 'resnet51', "unknown base 'resnet51'"),
    ],
)
def test_configs_are_refused(config, base, message):
    with pytest.raises(UserError, match=message):
        of_config(config, base)


def test_a_missing_config_and_a_two_stage_detector_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.py: no such config'):
        of_config(str(tmp_path / 'none.py'))
    path = tmp_path / 'two_stages.py'
    path.write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\ncustom_imports = dict(imports=['tinynet_mm'])\n"
        "model = dict(backbone=dict(_delete_=True, type='ScaledResNet', arch='resnet18', out_indices=(0, 1, 2, 3)), "
        'neck=dict(in_channels=[64, 128, 256, 512]))\n'
    )
    with pytest.raises(UserError, match='FasterRCNN cannot be exported: supported are'):
        of_config(str(path))


def test_a_table_needs_its_base(tmp_path):
    table = dataclasses.asdict(preset('tinynet_e')) | dict(name='mine')
    config = write_detector(tmp_path, model=f"backbone=dict(_delete_=True, type='TinyNet', out_indices=(4, 7), arch={table})")
    with pytest.raises(UserError, match='the backbone of detector.py is a table of its own, mine; give its base with --base'):
        of_config(config)
    assert of_config(config, 'efficientnet_b0').own.stages == preset('tinynet_e').stages


@pytest.mark.parametrize(
    'runtime, package',
    [
        ('onnx', 'onnxruntime'),
        ('onnx', 'onnx'),
        ('openvino', 'openvino'),
        ('openvino', 'onnxslim'),
        ('ncnn', 'ncnn'),
        ('ncnn', 'pnnx'),
        ('openvino-int8', 'nncf'),
    ],
)
def test_a_missing_package_names_the_pip_command(monkeypatch, runtime, package):
    monkeypatch.setitem(sys.modules, package, None)  # import raises ImportError
    with pytest.raises(MissingPackageError, match=rf'{package} is not installed: pip install'):
        latency_meter(lambda arch: pytest.fail('a network was built'), runtime)


def test_an_unknown_runtime_is_refused():
    with pytest.raises(UserError, match="unknown runtime 'onxx'. Did you mean onnx"):
        check_runtime('onxx')

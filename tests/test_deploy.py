"""Export and latency: the file against torch, the summary against NumPy, and what is refused."""

import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from tinynet_mm.archs import BASES, EFFICIENTNET_B0, Scaling, scale
from tinynet_mm.cost import cost
from tinynet_mm.deploy import backends, export, latency
from tinynet_mm.deploy.export import export_onnx
from tinynet_mm.deploy.latency import compare, latency_meter
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import MissingPackageError
from tinynet_mm.formula import TinyFormula
from tinynet_mm.formula.solve import solve, widths
from tinynet_mm.models import Classifier, ScaledEfficientNet, ScaledGhostNet, ScaledResNet

SMALL = scale(EFFICIENTNET_B0, Scaling(r=0.15, w=0.2, d=0.3))


def settled(model, seed=0):
    """Set random running statistics, so that the test detects wrong folding of norms."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


def small(arch=SMALL, side=32):
    """A small classifier with its description, as :func:`compare` takes it."""
    return settled(Classifier(ScaledEfficientNet(arch), 10)), Spec('classification', 'logits', (), side, side)


@pytest.fixture(scope='module')
def small_file(tmp_path_factory):
    return export_onnx(settled(Classifier(ScaledEfficientNet(SMALL), 10)), tmp_path_factory.mktemp('onnx') / 'small.onnx', 32)


@pytest.mark.parametrize(
    'build, base',
    [(ScaledEfficientNet, 'efficientnet_b0'), (ScaledResNet, 'resnet18'), (ScaledGhostNet, 'ghostnet_100')],
)
def test_the_file_computes_what_the_model_does(tmp_path, build, base):
    model = settled(Classifier(build(scale(BASES[base], Scaling(r=0.2, w=0.25, d=0.4))), 7)).train()
    path = export_onnx(model, tmp_path / 'new' / 'model.onnx', 48, batch=2)
    assert model.training and [p.name for p in path.parent.iterdir()] == ['model.onnx']
    images = torch.randn(2, 3, 48, 48)
    runtime = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    (found,) = runtime.run(['logits'], {'images': images.numpy()})
    with torch.no_grad():
        expected = model.eval()(images).numpy()
    assert found.shape == (2, 7) and np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_the_cost_of_the_classifier_is_that_of_the_table():
    for build, base in ((ScaledEfficientNet, 'efficientnet_b0'), (ScaledGhostNet, 'ghostnet_a')):
        arch = scale(BASES[base], Scaling(r=0.2, w=0.3, d=0.3))
        model = Classifier(build(arch), 10)
        assert sum(p.numel() for p in model.parameters()) == cost(arch, classes=10).params


def test_norms_are_folded(small_file):
    assert 'BatchNormalization' not in {node.op_type for node in onnx.load(small_file).graph.node}


def test_a_users_classifier_is_exported(tmp_path):
    from mmpretrain.registry import MODELS

    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='ScaledEfficientNet', arch=dict(r=0.15, w=0.2, d=0.3)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=1280),
        )
    )
    network = backends.open_network(export_onnx(model, tmp_path / 'model.onnx', 33))
    assert network.run(np.zeros((1, 3, 33, 33), np.float32))['logits'].shape == (1, 5)


def test_a_wrong_export_is_not_kept(tmp_path, monkeypatch):
    def broken(model, *arguments):
        return trace(nn.Sequential(model, nn.ReLU()).eval(), *arguments)

    trace = export.trace
    monkeypatch.setattr(export, 'trace', broken)
    with pytest.raises(ValueError, match='differs from the model'):
        export_onnx(Classifier(ScaledEfficientNet(SMALL), 10), tmp_path / 'model.onnx', 32)
    assert not list(tmp_path.iterdir())


def test_only_one_tensor_is_exported(tmp_path):
    with pytest.raises(ValueError, match='returns a tuple'):
        export_onnx(ScaledEfficientNet(SMALL), tmp_path / 'model.onnx', 32)


def test_latency_is_the_percentiles_of_its_runs(monkeypatch):
    """With simulated runs; test_latency has the order of the turns."""
    runs = {'a': np.arange(3.0, 13), 'b': np.arange(20.0, 30)}
    times = {name: np.stack([wall, wall / 2], axis=1)[:, None] for name, wall in runs.items()}
    asked = []
    monkeypatch.setattr(latency, 'timed_rounds', lambda *arguments: asked.append(arguments[1:]) or times)
    found = compare({'a': small(), 'b': small(side=40)}, warmup=2, runs=10)
    assert asked == [(2, 10)]
    for name, wall in runs.items():
        row = found[name]
        assert (row.median_ms, row.p10_ms, row.p90_ms) == pytest.approx(tuple(np.percentile(wall, (50, 10, 90))))
        assert row.processor_ms == np.median(wall) / 2
    protocol = dict(runs=10, warmup=2, threads=1, batch=1, height=32, width=32, precision='fp32')
    assert {k: found['a'].row()[k] for k in protocol} == protocol and found['b'].width == 40
    assert found['a'].runtime.startswith('onnxruntime ') and 'cores' in found['a'].machine


@pytest.mark.parametrize(
    'times, expected, bursts',
    [
        ([5, 6, 5.1, 7], 5, 2),  # agree at once
        ([9, 9, 14, 15, 5, 8, 5.1, 6], 5, 4),  # two bursts with other load, then two without
        ([9, 9, 7, 7, 5, 5, 3, 3, 2, 2], 2, 5),  # never agree: the minimum of all
    ],
)
def test_the_minimum_time_is_confirmed_by_a_second_burst(small_file, monkeypatch, times, expected, bursts):
    left = list(times)
    monkeypatch.setattr(latency, '_timed', lambda runtime, feed: (99, left.pop(0)))
    assert latency.least_ms(backends.open_network(small_file), runs=2, bursts=5) == expected
    assert len(times) - len(left) == 2 * bursts


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(threads=0), 'threads=0'),
        (dict(threads=10_000), 'this machine has'),
        (dict(runs=0), 'at least one run'),
        (dict(runtime='onxx'), "unknown runtime 'onxx'. Did you mean onnx"),
    ],
)
def test_compare_refuses(settings, message):
    with pytest.raises(ValueError, match=message):
        compare({'a': small()}, **settings)


def test_width_is_solved_on_measured_times(monkeypatch):
    """On this machine: the achieved time is a measured one, and each network is measured once."""
    built = []
    monkeypatch.setattr(latency, 'least_ms', partial(latency.least_ms, bursts=4))

    def build(arch):
        built.append(arch)
        return small(arch, arch.resolution)

    meter = latency_meter(build)
    stairs = widths(replace(EFFICIENTNET_B0, resolution=96), 0.4, 0.4, low=0.3, high=1.0)
    ends = [meter.measure(stairs.arch(value)) for value in (0.3, 1.0)]
    step, _ = solve(stairs, sum(ends) / 2, meter)
    assert ends[0] < ends[1] and step.achieved == meter.measure(step.arch) <= 1.03 * sum(ends) / 2
    assert len(built) == len(set(built)) <= 9


def test_a_latency_budget_of_the_formula(monkeypatch):
    """With a clock of 1 ms for 10 M MACs the milliseconds of TinyNet-C give back a network of its cost."""
    asked = []

    def build(arch):
        asked.append(arch)
        return arch, Spec('classification', 'logits', (), arch.resolution, arch.resolution)

    def prepare(arch, spec, runtime, threads, folder):
        return backends.Network(spec, lambda images: arch)

    monkeypatch.setattr(latency, 'prepare', prepare)
    monkeypatch.setattr(latency, 'least_ms', lambda network, threads: cost(network.run(None)).macs / 1e7)
    found = TinyFormula.published().solve(9.95, meter=latency_meter(build, what='a fake'))
    assert found.unit == 'ms' and found.achieved == pytest.approx(9.95, rel=0.08)
    assert found.cost.macs == pytest.approx(99.5e6, rel=0.08) and len(asked) <= 18
    assert found.protocol.startswith('a fake, onnxruntime ')


@pytest.mark.parametrize(
    'package, call',
    [
        ('onnx', lambda path: export_onnx(Classifier(ScaledEfficientNet(SMALL), 10), path / 'model.onnx', 32)),
        ('onnxruntime', lambda path: export_onnx(Classifier(ScaledEfficientNet(SMALL), 10), path / 'model.onnx', 32)),
    ],
    ids=['export without onnx', 'export without onnxruntime'],
)
def test_a_missing_package_names_the_pip_command(tmp_path, monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)  # import raises ImportError
    with pytest.raises(MissingPackageError, match=rf'{package} is not installed: pip install "tinynet_mm\[deploy\]"'):
        call(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_modules_load_without_onnx_and_onnxruntime():
    blocked = 'import sys; sys.modules["onnx"] = sys.modules["onnxruntime"] = None; import tinynet_mm.deploy.latency'
    subprocess.run([sys.executable, '-c', blocked], check=True, timeout=120)

"""The table of latency: order of turns, statistics of the runs, networks by name, and what is refused."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from mmdet.datasets import CocoDataset
from onnx import TensorProto, helper
from runtime_models import IMAGES, STRETCH, ssdlite
from torch import nn

from tinynet_mm.archs import preset
from tinynet_mm.bench import exported, latency
from tinynet_mm.bench.latency import Contender, Protocol, compare
from tinynet_mm.bench.networks import find_network
from tinynet_mm.deploy import clock
from tinynet_mm.deploy.clock import timed_rounds
from tinynet_mm.deploy.export import Options, export_model
from tinynet_mm.deploy.runtime import Detector
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import MissingPackageError, UserError
from tinynet_mm.files import read_csv
from tinynet_mm.mmlab.checkpoints import build_model
from tinynet_mm.mmlab.configs import load_config

ROOT = Path(__file__).resolve().parents[1]
QUICK = Protocol(runs=3, warmup=1)
SPEC = Spec('classification', 'logits', (), 32, 32, macs=2_000_000)
COLUMNS = [
    *('model', 'runtime', 'precision', 'outputs', 'mean_ms', 'median_ms', 'p95_ms', 'min_ms', 'processor_ms'),
    *('pre_ms', 'network_ms', 'post_ms', 'roof_ms', 'times_roof', 'macs', 'gemm_gmacs_per_s', 'height', 'width', 'batch'),
    *('threads', 'input', 'runs', 'warmup', 'load', 'machine'),
]


@pytest.fixture(autouse=True)
def small_product(monkeypatch):
    monkeypatch.setattr(latency, 'SIDE', 64)


@pytest.fixture
def main():
    spec = importlib.util.spec_from_file_location('tools_latency', ROOT / 'tools' / 'latency.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope='module')
def detector_file(tmp_path_factory):
    path = tmp_path_factory.mktemp('files') / 'detector.onnx'
    export_model(ssdlite(), STRETCH, path, Options('decoded'), macs=1_000_000)
    return path


@pytest.fixture(scope='module')
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp('images') / 'photo.jpg'
    cv2.imwrite(str(path), IMAGES[0])
    return path


# The clock and the rows --------------------------------------------------------------------------------------------------------


def test_contenders_take_turns_and_steps_pass_their_values():
    calls = []
    contenders = {
        'a': [lambda _: calls.append('a')],
        'b': [lambda _: 3, lambda value: calls.append(f'b{value}')],
    }
    times = timed_rounds(contenders, 1, 12)
    # the warm-up, then turns of 10 and 2 timed runs, each after a run that is not timed
    assert calls == ['a', 'b3'] + ['a'] * 11 + ['b3'] * 11 + ['a'] * 3 + ['b3'] * 3
    assert times['a'].shape == (12, 1, 2) and times['b'].shape == (12, 2, 2)


def test_warm_up_is_not_timed_and_each_step_has_its_time(monkeypatch):
    """On a clock that the steps advance: by 1, 2, 3, ... ms of wall-clock time, and half of that of CPU time."""
    now = [0.0]

    def wait(_):
        wait.count += 1
        now[0] += wait.count / 1e3

    wait.count = 0
    monkeypatch.setattr(clock.time, 'perf_counter', lambda: now[0])
    monkeypatch.setattr(clock.time, 'process_time', lambda: now[0] / 2)
    times = timed_rounds({'a': [wait, wait]}, 1, 3)['a']
    np.testing.assert_allclose(times[:, :, 0], [[5, 6], [7, 8], [9, 10]])
    np.testing.assert_allclose(times[:, :, 1], times[:, :, 0] / 2)


def test_a_row_has_the_statistics_of_its_runs():
    wall = np.array([2.0, 9, 4, 4, 6])
    times = np.stack([wall, wall / 2], axis=1)[:, None]
    row = exported.row(Contender('net', 'fake 1', SPEC, []), times, 1.0, Protocol(warmup=7))
    found = {key: float(row[key]) for key in ('mean_ms', 'median_ms', 'p95_ms', 'min_ms', 'processor_ms', 'network_ms')}
    expected = dict(mean_ms=5, median_ms=4, p95_ms=np.percentile(wall, 95), min_ms=2, processor_ms=2.5, network_ms=5)
    assert found == pytest.approx(expected, rel=1e-3)
    assert (float(row['roof_ms']), float(row['times_roof'])) == (2, 2)  # 2 M multiply-adds at 1e9 a second; median 4 ms
    assert (row['runs'], row['warmup'], row['pre_ms'], row['post_ms']) == (5, 7, '', '')


def test_the_roof_is_that_of_the_batch_and_of_the_network_alone():
    wall = np.array([[1.0, 8, 3], [3, 10, 5]])
    spec = replace(SPEC, task='detection', post='decoded', batch=2)
    row = exported.row(Contender('net', 'fake 1', spec, []), np.stack([wall, wall], axis=2), 1.0, Protocol(batch=2))
    assert [float(row[key]) for key in ('pre_ms', 'network_ms', 'post_ms', 'mean_ms')] == [2, 9, 4, 15]
    assert (float(row['roof_ms']), float(row['times_roof'])) == (4, 2.25)


def test_a_network_without_multiply_adds_has_no_roof():
    row = exported.row(Contender('net', 'fake', replace(SPEC, macs=0), []), np.ones((2, 1, 2)), 1.0, Protocol())
    assert (row['macs'], row['roof_ms'], row['times_roof']) == ('', '', '')


# The tool ----------------------------------------------------------------------------------------------------------------------


def test_the_tool_writes_the_table(main, tmp_path, capsys, detector_file):
    threads = torch.get_num_threads()
    out = tmp_path / 'latency.csv'
    arguments = ['tinynet_e', str(detector_file), '--runtime', 'eager,onnx,openvino', '--runs', '3', '--warmup', '1']
    assert main([*arguments, '--out', str(out)]) == 0
    rows = read_csv(out, ('mean_ms', 'median_ms', 'p95_ms', 'processor_ms', 'roof_ms', 'times_roof'))
    assert list(rows[0]) == COLUMNS
    assert [(row['model'], row['runtime'].split()[0]) for row in rows] == [
        ('tinynet_e', 'torch'),
        ('tinynet_e', 'onnxruntime'),
        ('tinynet_e', 'openvino'),
        (str(detector_file), 'onnxruntime'),
    ]
    assert {(row['runs'], row['warmup'], row['threads'], row['batch'], row['precision']) for row in rows} == {
        (3, 1, 1, 1, 'fp32')
    }
    assert (rows[0]['height'], rows[0]['macs'], rows[0]['outputs']) == (106, rows[1]['macs'], 'logits')
    assert 20e6 < rows[0]['macs'] < 30e6 and rows[3]['macs'] == 1_000_000
    said = capsys.readouterr().out
    assert f'note: {detector_file} is a file, so it has no row for eager.' in said and f'written: {out}' in said
    assert torch.get_num_threads() == threads


def test_files_are_timed_without_torch(tmp_path, detector_file, picture):
    """In a process where torch, MMEngine and mmcv cannot be imported."""
    out, tool = tmp_path / 'latency.csv', str(ROOT / 'tools' / 'latency.py')
    arguments = [str(detector_file), '--image', str(picture), '--runs', '3', '--warmup', '1', '--out', str(out)]
    code = (
        'import runpy, sys\n'
        'sys.modules.update(dict.fromkeys(("torch", "mmengine", "mmcv", "mmdet")))\n'
        f'sys.argv = {[tool, *arguments]!r}\n'
        f'runpy.run_path({tool!r}, run_name="__main__")'
    )
    run = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (row,) = read_csv(out, ('mean_ms', 'pre_ms', 'network_ms', 'post_ms'))
    assert list(row) == COLUMNS
    assert row['pre_ms'] + row['network_ms'] + row['post_ms'] == pytest.approx(row['mean_ms'], rel=1e-2)
    assert (row['roof_ms'], row['times_roof'], row['gemm_gmacs_per_s']) == ('', '', '')
    assert 'no roof without torch' in run.stdout


def test_a_file_of_another_runtime_is_left_out_without_torch(detector_file):
    notes = []
    with pytest.raises(ValueError, match='none of the networks runs in openvino'):
        exported.compare_files([str(detector_file)], ['openvino'], QUICK, notes.append)
    assert notes == [f'{detector_file} has no row: it runs in onnx; add it to --runtime.']
    (row,) = exported.compare_files([str(detector_file)], ['eager', 'onnx'], QUICK, notes.append)
    assert row['runtime'].startswith('onnxruntime')


def test_int8_is_a_runtime_of_networks_and_not_of_files(detector_file):
    notes = []
    rows = compare(['efficientnet_b-4', str(detector_file)], ['onnx', 'onnx-int8', 'openvino-int8'], QUICK, note=notes.append)
    assert [(row['model'], row['runtime'].split()[0], row['runtime'].endswith('int8'), row['precision']) for row in rows] == [
        ('efficientnet_b-4', 'onnxruntime', False, 'fp32'),
        ('efficientnet_b-4', 'onnxruntime', True, 'int8'),
        ('efficientnet_b-4', 'openvino', True, 'int8'),
        (str(detector_file), 'onnxruntime', False, 'fp32'),
    ]
    assert sum('has no row for' in note and 'takes a network and quantises it; give its config' in note for note in notes) == 2


def test_a_detector_is_timed_from_file_to_boxes(detector_file, picture):
    (row,) = compare([str(detector_file)], ['onnx'], replace(QUICK, image=picture))
    parts = [float(row[key]) for key in ('pre_ms', 'network_ms', 'post_ms')]
    assert min(parts) > 0 and sum(parts) == pytest.approx(float(row['mean_ms']), rel=1e-2)
    assert row['input'] == 'photo.jpg 150x100'


def test_the_timed_steps_find_the_boxes_of_the_runtime(detector_file, picture):
    detector = Detector(detector_file)
    value = None
    for step in exported.from_file_to_boxes(detector, picture):
        value = step(value)
    expected = detector(picture)
    assert len(expected) > 0
    for found, wanted in zip(value, (expected.boxes, expected.scores, expected.labels), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_modules_are_timed_in_the_given_batch():
    (row,) = compare(['timm:lcnet_050'], ['onnx'], replace(QUICK, batch=2))
    assert row['batch'] == 2 and row['height'] == 224


def test_a_module_that_does_not_compile_is_left_out_with_a_note(monkeypatch):
    def fail(*arguments, **settings):
        raise RuntimeError('no C++ compiler')

    monkeypatch.setattr(torch, 'compile', lambda *arguments, **settings: fail)
    notes = []
    rows = compare(['tinynet_e'], ['eager', 'compile'], QUICK, note=notes.append)
    assert len(rows) == 1 and 'tinynet_e has no row for compile: torch.compile fails: no C++ compiler' in notes[0]


def test_each_compiled_module_has_its_own_code(monkeypatch):
    codes = []
    monkeypatch.setattr(torch, 'compile', lambda function, dynamic: codes.append(function.__code__) or function)
    calls = [latency.compiled(module, torch.ones(1)) for module in (nn.Identity(), nn.ReLU())]
    assert codes[0] is not codes[1]
    assert [call(torch.tensor(-1.0)).item() for call in calls] == [-1, 0]


def test_the_reference_is_timed_in_inference_of_mmdet(tmp_path, picture):
    config, checkpoint = str(ROOT / 'configs' / 'ssdlite_tinynet_e_coco.py'), tmp_path / 'random.pth'
    model = build_model(load_config(config), 0)
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CocoDataset.METAINFO['classes']))), checkpoint
    )
    (row,) = compare([], ['onnx'], replace(QUICK, image=picture), (config, str(checkpoint)))
    assert (row['model'], row['runtime'].split()[-1], row['outputs']) == (config, 'inference_detector', 'boxes')
    assert float(row['mean_ms']) > 0 and row['network_ms'] == '' and row['input'] == 'photo.jpg 150x100'


# Networks by name --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'name, side, outputs',
    [
        ('efficientnet_b-4', preset('efficientnet_b-4').resolution, 'logits'),
        ('timm:mobilenetv3_small_050', 224, 'logits'),
        ('torchvision:mobilenet_v2', 224, 'logits'),
        ('torchvision:ssdlite320_mobilenet_v3_large', 320, 'raw'),
        ('configs/cifar10/tinynet_e_cifar10.py', 48, 'logits'),
        ('configs/ssdlite_tinynet_e_coco.py', 512, 'decoded'),
        ('configs/ssdlite_tinynet_e_coco.py@96', 96, 'decoded'),
    ],
)
def test_a_network_by_its_name(name, side, outputs):
    path = ROOT / name
    found = find_network(str(path) if '.py' in name else name)
    assert (found.spec.height, found.spec.width, found.spec.post) == (side, side, outputs) and found.spec.macs > 0
    with torch.no_grad():
        found.graph(torch.randn(1, 3, side, side))


def test_an_ssd_of_mmdet_gets_the_missing_loss():
    """Without it the check of the export fails in the post-processing of mmdet."""
    found = find_network('mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    assert found.spec.width == 320 and not found.model.bbox_head.loss_cls.use_sigmoid


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: find_network('tinynet_f'), r"unknown network 'tinynet_f'. Did you mean tinynet_"),
        (lambda: find_network('timm:mobilenetv2_10'), 'unknown network timm:mobilenetv2_10. Did you mean .*mobilenetv2_100'),
        (lambda: find_network('torchvision:mobilenetv2'), 'unknown network torchvision:mobilenetv2. Did you mean mobilenet_v2'),
        (lambda: find_network('torchvision:retinanet_resnet50_fpn'), 'is not supported'),
        (lambda: find_network(f'{ROOT}/configs/ssdlite_tinynet_e_coco.py@big'), 'after @ give the side'),
        (lambda: compare(['tinynet_e'], ['ncnn'], Protocol(batch=2)), 'ncnn takes one image at a time'),
        (lambda: compare(['tinynet_e'], ['onxx']), "unknown runtime 'onxx'. Did you mean onnx"),
        (lambda: compare([], ['onnx']), 'no network is given'),
        (lambda: compare(['tinynet_e'], []), 'no runtime is given; known: onnx'),
        (lambda: compare(['tinynet_e'], ['onnx'], Protocol(threads=10_000)), 'this machine has'),
        (lambda: compare(['tinynet_e'], ['onnx'], Protocol(warmup=-1)), 'no negative warm-up'),
        (lambda: compare(['tinynet_e'], ['onnx'], reference=('a.py', 'b.pth')), 'give --image'),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_an_image_that_no_network_takes_is_refused_before_the_runs(picture):
    with pytest.raises(UserError, match='--image is for exported detectors'):
        compare(['efficientnet_b-4'], ['onnx'], replace(QUICK, image=picture, runs=10**9))


def test_a_table_that_cannot_be_written_is_refused_before_the_runs(main, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(UserError, match='cannot write .*file/t.csv'):
        main(['tinynet_e', '--runs', '1000000000', '--out', str(tmp_path / 'file' / 't.csv')])


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such config'):
        find_network(str(tmp_path / 'none.py'))
    with pytest.raises(FileNotFoundError, match='no such file'):
        find_network(str(tmp_path / 'none.onnx'))
    with pytest.raises(FileNotFoundError):
        compare(['tinynet_e'], ['onnx'], replace(QUICK, image=tmp_path / 'none.jpg'))


def test_a_file_of_another_batch_and_one_without_a_row_are_refused(detector_file):
    with pytest.raises(UserError, match='takes batches of 1, not 4; give --batch 1'):
        find_network(str(detector_file), batch=4)
    with pytest.raises(UserError, match='none of the networks runs in eager, openvino'):
        compare([str(detector_file)], ['eager', 'openvino'], QUICK)


def test_a_file_of_another_tool_is_refused(tmp_path):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in ('x', 'y')]
    graph = helper.make_graph([helper.make_node('Relu', ['x'], ['y'])], 'other', value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(UserError, match='no description of tinynet_mm'):
        find_network(str(tmp_path / 'other.onnx'))


@pytest.mark.parametrize(
    'package, name, fix',
    [('timm', 'timm:lcnet_050', 'pip install timm'), ('torchvision.models', 'torchvision:vgg11', 'pip install')],
)
def test_a_missing_library_names_the_pip_command(monkeypatch, package, name, fix):
    monkeypatch.setitem(sys.modules, package, None)  # import raises ImportError
    with pytest.raises(MissingPackageError, match=fix):
        find_network(name)


def test_a_missing_runtime_is_refused_before_the_work(monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    monkeypatch.setattr(latency, 'find_network', lambda *arguments: pytest.fail('the work started'))
    with pytest.raises(MissingPackageError, match='openvino is not installed: pip install'):
        compare(['tinynet_e'], ['openvino'], QUICK)

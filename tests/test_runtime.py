"""The runtime of exported files: the results of mmdet and mmpretrain, and bad input."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from mmengine.config import Config
from runtime_models import CROP, IMAGES, MODELS, assert_same, detector_of, exported, image_classifier, mmdet_result, settled

from tinynet_mm.data.images import write_image
from tinynet_mm.deploy import backends
from tinynet_mm.deploy.export import Options, convert, export_model
from tinynet_mm.deploy.runtime import Classifier, Detector
from tinynet_mm.deploy.spec import KEY
from tinynet_mm.errors import MissingPackageError, UserError

# Detectors --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', MODELS)
def test_a_detector_returns_the_boxes_of_mmdet(name):
    model, path = detector_of(name), exported(name)
    for image, found in zip(IMAGES, Detector(path)(IMAGES), strict=True):
        expected = mmdet_result(model, image)
        assert len(expected) > 20 and np.ptp(expected.scores) > 0.01 and len(set(expected.labels)) > 1
        assert_same(found, expected)
        assert (np.diff(found.scores) <= 0).all() and found.labels.dtype == np.int64


@pytest.mark.parametrize(
    'settings',
    [dict(preprocess=True), dict(batch=0), dict(batch=2), dict(post='nms'), dict(post='nms', batch=2, preprocess=True)],
    ids=str,
)
def test_every_kind_of_file_returns_the_same_boxes(settings):
    name = 'retinanet' if 'post' in settings else 'ssdlite'  # the rounding of a deep random network changes what is suppressed
    expected = Detector(exported(name))(IMAGES)
    for one, other in zip(Detector(exported(name, **settings))(IMAGES), expected, strict=True):
        assert_same(one, other)


def test_preprocessing_in_the_graph_with_a_letterbox():
    for one, other in zip(*(Detector(exported('rtmdet', **s))(IMAGES[:2]) for s in (dict(), dict(preprocess=True)))):
        assert_same(one, other)


def test_one_image_a_list_and_files(tmp_path):
    detector = Detector(exported('ssdlite'))
    write_image(tmp_path / 'a.png', IMAGES[0])
    single = detector(IMAGES[0])
    from_file, again = detector([tmp_path / 'a.png', str(tmp_path / 'a.png')])
    for other in (from_file, again, detector(tmp_path / 'a.png'), detector(IMAGES)[0]):
        np.testing.assert_array_equal(single.boxes, other.boxes)
    assert detector([]) == []
    assert detector.classes == tuple(f'thing {i}' for i in range(6))
    assert set(single.names) <= {*detector.classes, 'class 6'} and len(single.names) == len(single)


@pytest.mark.parametrize('post', ['decoded', 'nms'])
def test_a_score_threshold(post):
    path = exported('retinanet', **(dict() if post == 'decoded' else dict(post=post)))
    every = Detector(path)(IMAGES[0])
    thr = float(np.median(every.scores))
    found = Detector(path, score_thr=thr)(IMAGES[0])
    np.testing.assert_array_equal(found.scores, every.scores[every.scores > thr])
    assert len(Detector(path, score_thr=0.9999)(IMAGES[0])) == 0
    if post == 'nms':
        with pytest.raises(UserError, match='itself removes boxes below 0.05'):
            Detector(path, score_thr=0.01)
    else:
        assert Detector(path, score_thr=0.0).score_thr == 0


def test_openvino_returns_the_same_boxes(tmp_path):
    openvino = pytest.importorskip('openvino')
    source = exported('ssdlite')
    model = openvino.convert_model(source)
    openvino.save_model(model, tmp_path / 'bare.xml', compress_to_fp16=False)
    model.set_rt_info(backends.open_network(source).spec.to_json(), [KEY])
    openvino.save_model(model, tmp_path / 'model.xml', compress_to_fp16=False)
    for found, expected in zip(Detector(tmp_path / 'model.xml')(IMAGES), Detector(source)(IMAGES), strict=True):
        assert_same(found, expected)
    with pytest.raises(UserError, match='no description of tinynet_mm'):
        Detector(tmp_path / 'bare.xml')
    with pytest.raises(UserError, match='OpenVINO has CPU'):
        Detector(tmp_path / 'model.xml', device='cuda')


# Bad input --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_a_branch_is_refused_before_it_runs(suffix, tmp_path):
    openvino, make = pytest.importorskip('openvino'), onnx.helper
    value = partial(make.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=[1])
    then, other = (make.make_graph([make.make_node(op, ['x'], ['y'])], op, [], [value('y')]) for op in ('Abs', 'Neg'))
    cast = make.make_node('Cast', ['x'], ['c'], to=onnx.TensorProto.BOOL)
    branch = make.make_node('If', ['c'], ['z'], then_branch=then, else_branch=other)
    graph = make.make_graph([cast, branch], 'g', [value('x')], [value('z')])
    model = make.make_model(graph, opset_imports=[make.make_opsetid('', 17)], ir_version=8)
    onnx.save(model, tmp_path / 'm.onnx')
    openvino.save_model(openvino.convert_model(tmp_path / 'm.onnx'), tmp_path / 'm.xml')
    with pytest.raises(UserError, match='contains the operator If, which can run without end and which no export writes'):
        backends.open_network(tmp_path / f'm{suffix}')


def test_files_that_are_refused(tmp_path):
    path = exported('ssdlite')
    model = onnx.load(path)
    for name, text in (('bare', None), ('raw', json.dumps(json.loads(spec_text(path)) | dict(post='raw')))):
        onnx.helper.set_model_props(model, {KEY: text} if text else {})
        onnx.save(model, tmp_path / f'{name}.onnx')
    (tmp_path / 'text.onnx').write_text('not a network')
    for name, message in (
        ('bare.onnx', 'bare.onnx has no description of tinynet_mm'),
        ('raw.onnx', 'export with --post decoded'),
        ('text.onnx', 'not an ONNX file that ONNX Runtime runs'),
        ('model.pth', 'not an exported file'),
    ):
        with pytest.raises(UserError, match=message):
            Detector(tmp_path / name)
    with pytest.raises(FileNotFoundError, match='none.onnx: no such file'):
        Detector(tmp_path / 'none.onnx')
    with pytest.raises(UserError, match='network for detection, not for classification; in Python open it with Detector'):
        Classifier(path)
    with pytest.raises(UserError, match='threads=0'):
        Detector(path, threads=0)
    for device, message in (('cuda', 'has no CUDA'), ('tpu', 'runs on cpu, cuda')):
        with pytest.raises(UserError, match=message):
            Detector(path, device=device)


def spec_text(path: Path) -> str:
    return next(prop.value for prop in onnx.load(path).metadata_props if prop.key == KEY)


@pytest.mark.parametrize(
    'image, form',
    [
        (np.zeros((4, 4), np.uint8), r'uint8 \(4, 4\)'),
        (np.zeros((4, 4, 3)), r'float64 \(4, 4, 3\)'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
        (None, 'NoneType'),
    ],
)
def test_arrays_that_are_not_images(image, form):
    with pytest.raises(UserError, match=form):
        Detector(exported('ssdlite'))([image])


@pytest.mark.parametrize(
    'package, suffix, wanted', [('onnxruntime', '.onnx', r'"tinynet_mm\[runtime\]"'), ('openvino', '.xml', 'openvino')]
)
def test_a_missing_runtime_names_the_pip_command(monkeypatch, tmp_path, package, suffix, wanted):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f'model{suffix}'
    for part in (suffix, *backends.PARTS[suffix]):
        path.with_suffix(part).write_bytes(b'')
    with pytest.raises(MissingPackageError, match=f'needs {package} .*: pip install {wanted}'):
        Detector(path)


# Classifiers ------------------------------------------------------------------------------------------------------------------


SQUARE = [dict(type='mmpretrain.Resize', scale=(48, 48), backend='pillow', interpolation='bilinear')]  # of the CIFAR-10 configs


@pytest.mark.parametrize('steps', [CROP, SQUARE], ids=['crop', 'stretch'])
@pytest.mark.parametrize('settings', [dict(), dict(batch=0, preprocess=True)], ids=str)
def test_a_classifier_returns_the_probabilities_of_mmpretrain(tmp_path, steps, settings):
    from mmpretrain.apis import ImageClassificationInferencer

    model = image_classifier()
    settled(model, [(model.head.fc, (0, 2))])
    model.dataset_meta = dict(classes=tuple('abcdefghij'))
    pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
    model._config = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline)), model=dict(), default_scope='mmpretrain'))
    expected = np.array([row['pred_scores'] for row in ImageClassificationInferencer(model)(list(IMAGES))])
    export_model(model, pipeline, tmp_path / 'model.onnx', Options(**settings))
    classifier = Classifier(tmp_path / 'model.onnx')
    found = classifier(IMAGES)
    assert found.shape == (3, 10) and np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(classifier(IMAGES[0]), found[:1])
    best = classifier.top(IMAGES, 2)
    assert [row[0][0] for row in best] == ['abcdefghij'[i] for i in expected.argmax(axis=1)] and len(best[0]) == 2
    assert classifier([]).shape == (0, 10)


SIGNALS = """
import gc, os, signal, sys
from tinynet_mm.deploy.backends import open_network

signal.signal(signal.SIGUSR1, lambda *_: print('handled', flush=True))
first, second = (open_network(sys.argv[1]) for _ in range(2))
del first
gc.collect()
del second
gc.collect()
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_models_of_openvino(tmp_path):
    """OpenVINO leaves a signal stack that is unmapped if networks are deleted in the order in which they were opened."""
    pytest.importorskip('openvino')
    path = convert(exported('ssdlite'), tmp_path / 'model.xml')
    for switches in ((), ('-X', 'faulthandler')):  # faulthandler has a signal stack, Python without it has none
        done = subprocess.run([sys.executable, *switches, '-c', SIGNALS, path], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr

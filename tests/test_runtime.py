"""The runtime of exported files: the results of mmdet and mmpretrain, selection of boxes by brute force, golden files."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from cam_models import build, retinanet, rtmdet, ssdlite, yolox
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from test_detection_tools import tool
from test_packaging import FILES, ROOT, SHIPPED
from torchvision.ops import batched_nms, box_iou

from tinynet_mm.data.images import read_image, write_image
from tinynet_mm.deploy import backends, runtime
from tinynet_mm.deploy.boxes import candidates, suppress
from tinynet_mm.deploy.exporter import export
from tinynet_mm.deploy.golden import write_golden
from tinynet_mm.deploy.predict import predict_video
from tinynet_mm.deploy.resize import InputWriter
from tinynet_mm.deploy.runtime import Classifier, Detections, Detector
from tinynet_mm.deploy.spec import KEY, Spec
from tinynet_mm.errors import MissingPackageError, UserError

SIDE = 128
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
PACK = dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'ori_shape', 'img_shape', 'scale_factor'))
STRETCH = [dict(type='LoadImageFromFile'), dict(type='mmdet.Resize', scale=(SIDE, SIDE), keep_ratio=False), PACK]
LETTERBOX = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.Resize', scale=(SIDE, SIDE), keep_ratio=True),
    dict(type='mmdet.Pad', size=(SIDE, SIDE), pad_val=dict(img=(114, 114, 114))),
    PACK,
]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blurred noise and shapes, so that scores vary over the image."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), (0, 0), 3)
    for _ in range(6):
        corner, colour = rng.integers(0, (width, height)).tolist(), rng.integers(0, 256, 3).tolist()
        cv2.rectangle(image, corner, (corner[0] + width // 5, corner[1] + height // 4), colour, -1)
    return image


IMAGES = [picture(100, 150, 1), picture(170, 90, 2), picture(128, 128, 3)]


def as_input(preprocessor) -> torch.Tensor:
    """IMAGES as a batch, with a border as a letterbox has."""
    batch = np.full((len(IMAGES), SIDE, SIDE, 3), 114, np.uint8)
    for target, image in zip(batch, IMAGES):
        factor = SIDE / max(image.shape)
        small = cv2.resize(image, None, fx=factor, fy=factor)
        target[: len(small), : small.shape[1]] = small
    images = torch.from_numpy(batch.transpose(0, 3, 1, 2)).float()
    return (images - preprocessor.mean) / preprocessor.std if hasattr(preprocessor, 'mean') else images


@torch.no_grad()
def settled(model, layers):
    """Random weights with spread outputs: batch norms have the statistics of the images, last layers a given spread.

    Args:
        model: a detector or classifier.
        layers: pairs of a last layer and (mean, standard deviation) that its output gets.
    """
    model = revert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None
            module.reset_running_stats()
    head = getattr(model, 'bbox_head', None) or model.head
    images = as_input(model.data_preprocessor)
    head(model.train().extract_feat(images))
    outputs = {layer: [] for layer, _ in layers}
    hooks = [layer.register_forward_hook(lambda m, i, out: outputs[m].append(out)) for layer in outputs]
    head(model.eval().extract_feat(images))
    for layer, (mean, std) in layers:
        layer.weight.mul_(std / torch.cat([out.flatten() for out in outputs[layer]]).std())
        layer.bias.copy_(torch.linspace(mean - std / 2, mean + std / 2, len(layer.bias)))
    for hook in hooks:
        hook.remove()
    return model


def with_pipeline(model, pipeline, preprocessor):
    """A detector that mmdet's inference_detector takes."""
    from mmdet.registry import MODELS

    model.data_preprocessor = MODELS.build(dict(type='mmdet.DetDataPreprocessor') | preprocessor)
    model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    model.dataset_meta = dict(classes=tuple(f'thing {i}' for i in range(model.bbox_head.num_classes - 1)))  # one without a name
    return model.eval()


def last_convs(head, name: str) -> list:
    """The last convolutions of the towers in an attribute of a head."""
    towers = getattr(head, name)
    towers = [towers] if isinstance(towers, torch.nn.Conv2d) else towers
    return [[m for m in tower.modules() if isinstance(m, torch.nn.Conv2d)][-1] for tower in towers]


def detector(model, pipeline, preprocessor, scores, boxes, more=()):
    """A detector with spread scores and boxes; ``scores``, ``boxes`` and ``more`` are attributes of its head."""
    targets = [(scores, (-3, 0.3)), (boxes[0], boxes[1]), *((name, (0, 0.3)) for name in more)]
    layers = [(conv, target) for name, target in targets for conv in last_convs(model.bbox_head, name)]
    return settled(with_pipeline(model, pipeline, preprocessor), layers)


def limited(model, nms_pre: int):
    """A detector with another limit of boxes of a level before suppression; the standard operator has no limit."""
    model.bbox_head.test_cfg.nms_pre = nms_pre
    return model


PLAIN = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395])  # BGR
MODELS = {
    'ssdlite': lambda: detector(limited(ssdlite(), 12), STRETCH, NORM, 'cls_convs', ('reg_convs', (0, 1))),
    'retinanet': lambda: detector(limited(retinanet(), 100_000), STRETCH, NORM, 'retina_cls', ('retina_reg', (0, 0.1))),
    'rtmdet': lambda: detector(rtmdet(), LETTERBOX, PLAIN, 'rtm_cls', ('rtm_reg', (2, 0.5))),
    'yolox': lambda: detector(
        yolox(), LETTERBOX, {}, 'multi_level_conv_cls', ('multi_level_conv_reg', (1, 0.02)), ['multi_level_conv_obj']
    ),
}


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """exported(name, **settings): the model and the path of its file, each made once."""
    known, built = {}, {}

    def get(name: str, **settings):
        if name not in built:
            built[name] = MODELS[name]()
        key = (name, *sorted(settings.items()))
        if key not in known:
            known[key] = tmp_path_factory.mktemp('exported') / f'{name}.onnx'
            export(built[name], built[name].cfg.test_dataloader.dataset.pipeline, known[key], **settings)
        return built[name], known[key]

    return get


def mmdet_result(model, image) -> Detections:
    from mmdet.apis import inference_detector

    found = inference_detector(model, [image])[0].pred_instances
    return Detections(found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy())


def assert_same(found: Detections, expected: Detections) -> None:
    """Boxes flatter than a pixel are not compared: rounding of the network changes their IoU."""
    assert len(found) == len(expected)
    found, expected = (
        Detections(d.boxes[solid], d.scores[solid], d.labels[solid])
        for d in (found, expected)
        for solid in [(d.boxes[:, 2:] - d.boxes[:, :2]).min(axis=1) > 1]
    )
    assert len(found) > 10
    iou = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(expected.boxes)).numpy()
    near = np.abs(found.scores[:, None] - expected.scores[None]) < 1e-3
    same = (iou > 0.99) & near & (found.labels[:, None] == expected.labels[None])
    assert same.any(axis=0).all() and same.any(axis=1).all()


# Detectors --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', MODELS)
def test_a_detector_returns_the_boxes_of_mmdet(exported, name):
    model, path = exported(name)
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
def test_every_kind_of_file_returns_the_same_boxes(exported, settings):
    name = 'retinanet' if 'post' in settings else 'ssdlite'  # the rounding of a deep random network changes what is suppressed
    expected = Detector(exported(name)[1])(IMAGES)
    for one, other in zip(Detector(exported(name, **settings)[1])(IMAGES), expected, strict=True):
        assert_same(one, other)


def test_preprocessing_in_the_graph_with_a_letterbox(exported):
    for one, other in zip(*(Detector(exported('rtmdet', **s)[1])(IMAGES[:2]) for s in (dict(), dict(preprocess=True)))):
        assert_same(one, other)


def test_one_image_a_list_and_files(exported, tmp_path):
    detector = Detector(exported('ssdlite')[1])
    write_image(tmp_path / 'a.png', IMAGES[0])
    single = detector(IMAGES[0])
    from_file, again = detector([tmp_path / 'a.png', str(tmp_path / 'a.png')])
    for other in (from_file, again, detector(tmp_path / 'a.png'), detector(IMAGES)[0]):
        np.testing.assert_array_equal(single.boxes, other.boxes)
    assert detector([]) == []
    assert detector.classes == tuple(f'thing {i}' for i in range(6))
    assert set(single.names) <= {*detector.classes, 'class 6'} and len(single.names) == len(single)


@pytest.mark.parametrize('post', ['decoded', 'nms'])
def test_a_score_threshold(exported, post):
    path = exported('retinanet', **(dict() if post == 'decoded' else dict(post=post)))[1]
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


def test_openvino_returns_the_same_boxes(exported, tmp_path):
    openvino = pytest.importorskip('openvino')
    source = exported('ssdlite')[1]
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


def test_files_that_are_refused(exported, tmp_path):
    path = exported('ssdlite')[1]
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
    with pytest.raises(UserError, match='network for detection; open it with Detector'):
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
def test_arrays_that_are_not_images(exported, image, form):
    with pytest.raises(UserError, match=form):
        Detector(exported('ssdlite')[1])([image])


@pytest.mark.parametrize(
    'package, suffix, wanted', [('onnxruntime', '.onnx', r'"tinynet_mm\[runtime\]"'), ('openvino', '.xml', 'openvino')]
)
def test_a_missing_runtime_names_the_pip_command(monkeypatch, tmp_path, package, suffix, wanted):
    monkeypatch.setitem(sys.modules, package, None)
    path = tmp_path / f'model{suffix}'
    path.write_bytes(b'')
    with pytest.raises(MissingPackageError, match=f'needs {package} .*: pip install {wanted}'):
        Detector(path)


# Selection of boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('classes', [1, 5])
@pytest.mark.parametrize('limit', [0, 30])
def test_suppression_equals_torchvision(classes, limit):
    rng = np.random.default_rng(classes)
    centres, sizes = rng.uniform(0, 90, (900, 2)), rng.uniform(5, 40, (900, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1).astype(np.float32)
    scores, labels = np.sort(rng.random(900, dtype=np.float32))[::-1].copy(), rng.integers(0, classes, 900)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, labels)), 0.5).numpy()
    assert 30 < len(expected) < 900
    np.testing.assert_array_equal(suppress(boxes, labels, 0.5, limit), expected[: limit or None])


@pytest.mark.parametrize('levels', [(), (60, 30, 10)])
@pytest.mark.parametrize('nms_pre', [0, 7])
@pytest.mark.parametrize('multi_label', [True, False])
def test_candidates_equal_a_loop(levels, nms_pre, multi_label):
    scores = np.random.default_rng(0).random((100, 4), dtype=np.float32)
    expected, start = [], 0
    for size in levels or (100,):
        entries = [
            (float(scores[row, label]), row, label)
            for row in range(start, start + size)
            for label in (range(4) if multi_label else [scores[row].argmax()])
            if scores[row, label] > 0.6
        ]
        expected += sorted(entries, reverse=True)[: nms_pre or None]
        start += size
    rows, labels, values = candidates(scores, 0.6, nms_pre, levels, multi_label)
    assert list(zip(values.tolist(), rows, labels)) == sorted(expected, reverse=True)
    assert len(candidates(scores, 1.0)[0]) == 0


def test_nothing_to_suppress():
    assert len(suppress(np.zeros((0, 4), np.float32), np.zeros(0, int), 0.5)) == 0


# Preprocessing ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('channels', ['RGB', 'BGR'])
def test_the_rest_of_a_letterbox_is_normalised_padding(channels):
    spec = Spec('detection', 'decoded', (), 40, 64, resize='letterbox', pad=(10.0, 20.0, 30.0), channels=channels)
    writer = InputWriter(replace(spec, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0)))
    batch = writer.batch(1)
    factors = writer.write(np.full((80, 80, 3), (7, 8, 9), np.uint8), batch[0])
    assert factors.tolist() == [0.5] * 4
    inside, outside = ((9, 8, 7), (10, 20, 30)) if channels == 'RGB' else ((7, 8, 9), (30, 20, 10))
    for channel, (mean, std) in enumerate(((1, 2), (2, 4), (3, 5))):
        np.testing.assert_allclose(batch[0, channel, :, :40], (inside[channel] - mean) / std, rtol=1e-6)
        np.testing.assert_allclose(batch[0, channel, :, 40:], (outside[channel] - mean) / std, rtol=1e-6)


@pytest.mark.parametrize(
    'change', [dict(resize='fold'), dict(backend='torch'), dict(interpolation='box'), dict(resize='crop', edge=9)]
)
def test_an_unknown_resize_is_refused(change):
    with pytest.raises(UserError, match='export again'):
        InputWriter(replace(Spec('classification', 'logits', (), 10, 10), **change))


# Classifiers ------------------------------------------------------------------------------------------------------------------


def image_classifier():
    preprocessor = dict(type='ClsDataPreprocessor', mean=NORM['mean'], std=NORM['std'], to_rgb=True, num_classes=10)
    return build(
        dict(
            type='ImageClassifier',
            data_preprocessor=preprocessor,
            backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
        ),
        'mmpretrain',
    )


CROP = [
    dict(type='ResizeEdge', scale=53, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=48),
]
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
    export(model, pipeline, tmp_path / 'model.onnx', **settings)
    classifier = Classifier(tmp_path / 'model.onnx')
    found = classifier(IMAGES)
    assert found.shape == (3, 10) and np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(classifier(IMAGES[0]), found[:1])
    best = classifier.top(IMAGES, 2)
    assert [row[0][0] for row in best] == ['abcdefghij'[i] for i in expected.argmax(axis=1)] and len(best[0]) == 2
    assert classifier([]).shape == (0, 10)


# Golden files -----------------------------------------------------------------------------------------------------------------


def test_golden_files_of_a_detector(exported, tmp_path, capsys):
    path = exported('rtmdet')[1]
    write_image(tmp_path / 'a.png', IMAGES[0])
    assert tool('make_golden')([str(path), str(tmp_path / 'a.png'), '--out', str(tmp_path / 'golden')]) == 0
    assert 'golden.npz' in capsys.readouterr().out
    arrays = np.load(tmp_path / 'golden' / 'golden.npz')
    np.testing.assert_array_equal(arrays['image'], read_image(tmp_path / 'a.png'))
    outputs = backends.open_network(path).run(arrays['images'])
    for name in ('boxes', 'scores'):
        np.testing.assert_array_equal(arrays[f'output_{name}'], outputs[name])
    found = Detector(path)(IMAGES[0])
    for name in ('boxes', 'scores', 'labels'):
        np.testing.assert_array_equal(arrays[f'final_{name}'], getattr(found, name))
    readme = (tmp_path / 'golden' / 'README.txt').read_text()
    assert all(name in readme for name in (*arrays.files, 'iou_thr', 'letterbox', 'max_per_image'))


def test_golden_files_of_a_classifier(tmp_path):
    model = image_classifier()
    pipeline = [dict(type='LoadImageFromFile'), *CROP, dict(type='PackInputs')]
    export(model, pipeline, tmp_path / 'model.onnx', batch=2)
    write_image(tmp_path / 'a.png', IMAGES[0])
    arrays = np.load(write_golden(tmp_path / 'model.onnx', tmp_path / 'a.png', tmp_path / 'golden'))
    np.testing.assert_allclose(arrays['probabilities'], runtime.softmax(arrays['output_logits'][:1]))
    assert arrays['images'].shape == (2, 3, 48, 48)


# Prediction -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path) -> Path:
    """A video of five frames at 10 frames a second."""
    writer = cv2.VideoWriter(str(tmp_path / 'clip.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 10, (160, 120))
    for seed in range(5):
        writer.write(picture(120, 160, seed))
    writer.release()
    return tmp_path / 'clip.mp4'


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    return frames


def test_a_video_is_drawn_with_its_frames_a_second(exported, clip, tmp_path, capsys):
    path = str(exported('ssdlite')[1])
    assert tool('predict')([path, '--video', str(clip), '--out', str(tmp_path / 'out'), '--score-thr', '0.1']) == 0
    assert '5 frames, ' in capsys.readouterr().out
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['video.mp4']
    assert tool('predict')([path, '--video', str(clip), '--out', str(tmp_path / 'empty'), '--score-thr', '1']) == 0
    before, drawn, empty = (frames_of(p) for p in (clip, tmp_path / 'out' / 'video.mp4', tmp_path / 'empty' / 'video.mp4'))
    assert len(before) == len(drawn) == len(empty) == 5 and drawn[0].shape == (120, 160, 3)
    assert cv2.VideoCapture(str(tmp_path / 'out' / 'video.mp4')).get(cv2.CAP_PROP_FPS) == 10
    for source, with_boxes, without in zip(before, drawn, empty):
        changed, plain = (np.abs(f.astype(int) - source).max(axis=2) > 60 for f in (with_boxes, without))
        assert plain[:20, :80].mean() > 0.1 and plain[30:].mean() < 0.02  # only the text in the corner
        assert changed[30:].mean() > 0.05


def test_ctrl_c_ends_a_video_and_keeps_its_frames(clip, tmp_path):
    calls = []

    def detect(images):
        calls.append(len(images))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return [Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))]

    assert predict_video(detect, str(clip), tmp_path / 'out.mp4')[0] == 3
    assert len(frames_of(tmp_path / 'out.mp4')) == 3


def test_a_video_that_cannot_be_opened_is_one_sentence(tmp_path, capfd):
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(UserError, match='text.mp4: OpenCV cannot open this video'):
        predict_video(list, str(tmp_path / 'text.mp4'), tmp_path / 'out.mp4')
    with pytest.raises(UserError, match='camera 99: OpenCV cannot open'):
        predict_video(list, '99', tmp_path / 'out.mp4')
    with pytest.raises(FileNotFoundError, match='none.mp4: no such video'):
        predict_video(list, str(tmp_path / 'none.mp4'), tmp_path / 'out.mp4')
    assert capfd.readouterr().err == ''


def test_a_video_that_cannot_be_written_is_one_sentence(clip, tmp_path):
    with pytest.raises(UserError, match='OpenCV cannot write this video'):
        predict_video(list, str(clip), tmp_path / 'out.unknown')
    assert not list(tmp_path.glob('*out*'))


@pytest.mark.parametrize(
    'arguments', [['model.onnx'], ['config.py'], ['config.py', 'a.pth'], ['m.onnx', 'a.jpg', '--video', '0']]
)
def test_arguments_of_prediction_that_do_not_fit(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        tool('predict')(arguments)
    assert stop.value.code == 2 and 'error: ' in capsys.readouterr().err


# Without torch ----------------------------------------------------------------------------------------------------------------

BANNED = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'matplotlib', 'onnx', 'onnxslim', 'scipy')
WITHOUT = """
import runpy, sys
from importlib.abc import MetaPathFinder

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {banned!r}:
            raise ImportError(f'{{name}} is not installed here')

sys.meta_path.insert(0, Blocker())
site, model, image, out = sys.argv[1:]
import numpy as np
import tinynet_mm
assert tinynet_mm.__file__.startswith(site), tinynet_mm.__file__
from tinynet_mm.deploy.runtime import Detector

found = Detector(model)(image)
np.savez(out + '/found.npz', boxes=found.boxes, scores=found.scores, labels=found.labels)
for tool, *more in (('predict', '--out', out + '/predicted'), ('make_golden', '--out', out + '/golden')):
    sys.argv = [f'tools/{{tool}}.py', model, image, *more]
    try:
        runpy.run_path(f'{{site}}/tinynet_mm/.mim/tools/{{tool}}.py', run_name='__main__')
    except SystemExit as stop:
        assert not stop.code, stop.code
assert not set(sys.modules) & set({banned!r})
print('without torch')
"""


@pytest.fixture(scope='module')
def wheel_site(tmp_path_factory) -> Path:
    """The folder of the unpacked wheel of this checkout."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / 'source' / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, folder / 'source' / name)
    command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', folder, folder / 'source']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    zipfile.ZipFile(next(folder.glob('*.whl'))).extractall(folder / 'site')
    return folder / 'site'


def test_the_wheel_detects_without_torch(wheel_site, exported, tmp_path):
    path = exported('ssdlite')[1]
    write_image(tmp_path / 'a.png', IMAGES[0])
    script = tmp_path / 'without.py'
    script.write_text(WITHOUT.format(banned=BANNED))
    command = [sys.executable, script, wheel_site, path, tmp_path / 'a.png', tmp_path]
    env = os.environ | {'PYTHONPATH': str(wheel_site)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout.strip().endswith('without torch'), done.stderr[-3000:]
    expected, found = Detector(path)(IMAGES[0]), np.load(tmp_path / 'found.npz')
    np.testing.assert_array_equal(found['boxes'], expected.boxes)
    rows = json.loads((tmp_path / 'predicted' / 'predictions.json').read_text())
    assert len(rows) == (expected.scores > 0.3).sum() > 0
    assert (tmp_path / 'predicted' / 'a.jpg').is_file() and (tmp_path / 'golden' / 'golden.npz').is_file()

"""Export: every head in every form, descriptions, the accuracy check, int8, OpenVINO, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import cam_models
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config
from runtime_models import IMAGES, LETTERBOX, NORM, PLAIN, STRETCH, detector_of, exported, image_classifier, with_pipeline
from test_detection_tools import shapes, tool, train  # noqa: F401 (a fixture)

from tinynet_mm.data.images import write_image
from tinynet_mm.deploy import evaluation, export, quantise
from tinynet_mm.deploy.backends import PARTS, open_network
from tinynet_mm.deploy.describe import resizing, thresholds
from tinynet_mm.deploy.export import Options, check_target, export_model
from tinynet_mm.deploy.graphs import without_focus
from tinynet_mm.deploy.quantise import layers, quantise_onnx, quantise_openvino
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab.trained import load_trained
from tinynet_mm.models import Classifier, ScaledEfficientNet

HEADS = {
    'ssdlite': (cam_models.ssdlite, STRETCH, NORM),
    'retinanet': (cam_models.retinanet, STRETCH, NORM),
    'fcos': (cam_models.fcos, STRETCH, PLAIN),
    'atss': (cam_models.atss, STRETCH, NORM),
    'gfl': (cam_models.gfl, STRETCH, NORM),
    'rtmdet': (cam_models.rtmdet, LETTERBOX, PLAIN),
    'light': (cam_models.light, STRETCH, NORM),
    'yolox': (lambda: detector_of('yolox'), LETTERBOX, {}),
}
FORMS = [
    dict(post='raw'),
    dict(post='decoded', preprocess=True, batch=0),
    dict(post='nms', batch=2),
]


@pytest.mark.parametrize('head', HEADS)
def test_every_head_is_exported_in_every_form(head, tmp_path):
    """Each export compares the file with the model, and its boxes with those of mmdet's post-processing."""
    build, pipeline, preprocessor = HEADS[head]
    model = with_pipeline(build(), pipeline, preprocessor)
    for number, form in enumerate(FORMS):
        path = tmp_path / f'{number}.onnx'
        spec = export_model(model, pipeline, path, Options(**form), macs=7, config=head)
        network = open_network(path)
        assert network.spec == spec and (spec.post, spec.batch, spec.macs) == (form['post'], form.get('batch', 1), 7)
        images = export.random_images(spec, spec.batch or 3).numpy()
        outputs = network.run(images)
        if spec.post == 'decoded':
            assert outputs['boxes'].shape == (3, sum(spec.levels), 4) and outputs['scores'].shape[:2] == (3, sum(spec.levels))
        elif spec.post == 'nms':
            assert set(np.unique(outputs['image_ids'])) <= {0, 1} and (np.diff(outputs['scores']) <= 0).all()
        else:
            assert {name.split('_')[0] for name in outputs} >= {'scores', 'boxes'}
    assert 'BatchNormalization' not in {node.op_type for node in onnx.load(path).graph.node}


def test_a_focus_layer_becomes_a_convolution():
    from mmdet.models.backbones.csp_darknet import Focus

    model = torch.nn.Sequential(torch.nn.Sequential(Focus(3, 8, 3).eval()))
    images = torch.randn(2, 3, 12, 20)
    changed = without_focus(model)
    assert torch.equal(changed(images), model(images)) and type(model[0][0]).__name__ == 'Focus'
    assert not any(type(module).__name__ == 'Focus' for module in changed.modules()) and without_focus(changed) is changed


def test_a_wrong_decoding_is_found(tmp_path, monkeypatch):
    model = with_pipeline(cam_models.retinanet(), STRETCH, NORM)
    monkeypatch.setattr(export.DecodedDetectorGraph, 'boxes', lambda self, maps: self.priors.expand(len(maps[0]), -1, -1))
    with pytest.raises(UserError, match='do not contain the box .* of mmdet'):
        export_model(model, STRETCH, tmp_path / 'model.onnx', Options())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'pipeline, expected',
    [
        (STRETCH, dict(resize='stretch', height=128, width=128)),
        (LETTERBOX, dict(resize='letterbox', pad=(114.0, 114.0, 114.0), edge=128, clip=False)),
        (
            [dict(type='ResizeEdge', scale=40, backend='pillow', interpolation='bicubic'), dict(type='CenterCrop', crop_size=32)],
            dict(resize='crop', edge=40, height=32, width=32, backend='pillow', interpolation='bicubic'),
        ),
        (
            [dict(type='mmdet.Resize', scale=(500, 500), keep_ratio=True)],
            dict(resize='letterbox', edge=500, height=512, width=512, clip=True, pad=(1.0, 2.0, 3.0)),
        ),
    ],
)
def test_the_resizing_of_a_pipeline_is_described(pipeline, expected):
    found = resizing(pipeline, (1.0, 2.0, 3.0), 'RGB')
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize('scale', [(600, 400), (400, 600)])
def test_a_scale_that_turns_with_the_image_needs_an_input_size(scale):
    pipeline = [dict(type='mmdet.Resize', scale=scale, keep_ratio=True)]
    with pytest.raises(UserError, match='turns its scale .* with the image.*; give --input-size'):
        resizing(pipeline, (0, 0, 0), 'RGB')
    assert resizing(pipeline, (0, 0, 0), 'RGB', (320, 320))['edge'] == 320


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(nms=dict(type='nms', iou_threshold=0.5, class_agnostic=True)), 'class_agnostic=True, which a file cannot have'),
        (dict(nms=dict(type='nms', iou_threshold=0.5, max_num=5)), 'max_num=5'),
        (dict(nms=dict(type='soft_nms')), 'suppresses boxes with soft_nms'),
        (dict(min_bbox_size=30), 'min_bbox_size=30'),
    ],
)
def test_post_processing_that_a_file_cannot_have_is_refused(change, words):
    head = cam_models.retinanet().bbox_head
    head.test_cfg.update(change)
    with pytest.raises(UserError, match=words):
        thresholds(head)


def test_a_step_that_a_file_cannot_describe_is_refused():
    with pytest.raises(UserError, match='has the step RandomFlip'):
        resizing([dict(type='mmdet.RandomFlip', prob=1)], (0, 0, 0), 'RGB')
    with pytest.raises(UserError, match='sets no input size; give --input-size'):
        resizing([dict(type='LoadImageFromFile')], (0, 0, 0), 'RGB')


def test_other_models_and_files_are_refused(tmp_path):
    with pytest.raises(UserError, match='cannot be exported: supported are'):
        export.DecodedDetectorGraph(torch.nn.Identity(), 32, 32)
    with pytest.raises(UserError, match='--post nms is for detectors'):
        export_model(image_classifier(), [dict(type='CenterCrop', crop_size=32)], tmp_path / 'x.onnx', Options(post='nms'))
    newer = replace(open_network(exported('ssdlite')).spec, format=99, version='9.0').to_json()
    with pytest.raises(UserError, match='exported by tinynet_mm 9.0 in format 99'):
        Spec.from_json(newer, 'model.onnx')
    for text in (None, 'x', '{}', json.dumps(dict(format=1))):
        with pytest.raises(UserError, match='model.onnx has no description of tinynet_mm'):
            Spec.from_json(text, 'model.onnx')


# Int8 -------------------------------------------------------------------------------------------------------------------------


def calibration(path: Path, count: int = 8) -> list[np.ndarray]:
    spec = open_network(path).spec
    return [export.random_images(spec, 1, seed=seed).numpy() for seed in range(count)]


@pytest.fixture(scope='module')
def lite(tmp_path_factory) -> Path:
    """A detector with squeeze-excite in its backbone, as an ONNX file."""
    model = with_pipeline(cam_models.ssdlite(), STRETCH, NORM)
    path = tmp_path_factory.mktemp('lite') / 'model.onnx'
    export_model(model, STRETCH, path, Options())
    return path


def test_squeeze_excite_and_decoding_stay_in_float(lite, tmp_path):
    quantised = [name for names in layers(lite).values() for name in names]
    convolutions = [node.name for node in onnx.load(lite).graph.node if node.op_type == 'Conv']
    assert quantised and not [name for name in quantised if '/se/' in name]
    assert {name for name in convolutions if '/se/' not in name} == set(quantised)
    path = quantise_onnx(lite, tmp_path / 'int8.onnx', calibration(lite))
    made = onnx.load(path).graph
    weights = {node.output[0] for node in made.node if node.op_type == 'DequantizeLinear'}
    in_int8 = {node.name for node in made.node if node.op_type == 'Conv' and node.input[1] in weights}
    assert in_int8 == set(quantised)
    assert open_network(path).spec == replace(open_network(lite).spec, precision='int8')


@pytest.mark.parametrize('activation, added', [('ReLU6', True), ('SiLU', False)])
@pytest.mark.parametrize('se', [0, 0.25])
def test_additions_are_quantised_between_relus_only(tmp_path, activation, added, se):
    """The sigmoid of a squeeze-excite gate does not count as the activation of the backbone."""
    arch = dict(r=0.2, w=0.3, d=1.0, se=se)
    model = Classifier(ScaledEfficientNet(arch=arch, act_cfg=dict(type=activation)), 5)
    path = export.export_onnx(model, tmp_path / 'model.onnx', 48)
    kinds = {node.name: node.op_type for node in onnx.load(path).graph.node}
    found = {kinds[name] for names in layers(path).values() for name in names}
    assert ('Add' in found) == added and 'Conv' in found


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_int8_is_close_to_float(lite, tmp_path, suffix):
    write = quantise_onnx if suffix == '.onnx' else quantise_openvino
    batches = calibration(lite)
    path = write(lite, tmp_path / f'int8{suffix}', batches)
    expected, found = (open_network(p).run(batches[0])['scores'] for p in (lite, path))
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    assert 0 < error < 0.2 and open_network(path).spec.precision == 'int8'


def test_layers_stay_in_float_in_openvino(lite, tmp_path):
    """Quantised weights are int8 in the file; with all layers in float there are none."""
    import openvino

    def int8_weights(keep: list[str]) -> set[str]:
        path = quantise_openvino(lite, tmp_path / f'{len(keep)}.xml', calibration(lite, 2), keep)
        ops = openvino.Core().read_model(path).get_ops()
        return {op.get_friendly_name() for op in ops if op.get_type_name() == 'Constant' and 'int8' in str(op.get_element_type())}

    every = [name for names in layers(lite).values() for name in names]
    all_quantised = int8_weights([])
    assert all_quantised and not [name for name in all_quantised if '/se/' in name]
    assert len(int8_weights(every[:3])) == len(all_quantised) - 3 and not int8_weights(every)


def test_the_most_sensitive_blocks_stay_in_float_until_the_loss_is_small(lite, tmp_path, monkeypatch):
    kept = []

    def write(source, target, batches, keep_float, ranges):
        kept.append(len(list(keep_float)))
        target.write_bytes(b'int8')
        return target

    monkeypatch.setattr(quantise, 'quantise_onnx', write)
    monkeypatch.setattr(quantise, 'sensitivities', lambda source, batches: dict.fromkeys(layers(source), 1.0))
    scores = iter([0.6, 0.5, 0.55, 0.598])  # of the float file, and of int8 with 0, 1 and 2 blocks in float
    lines = list(quantise.quantise(lite, tmp_path / 'x.onnx', [], lambda path: next(scores), 'mAP', 1.0))
    assert len(lines) == 3 and kept[0] == 0 < kept[1] < kept[2] and 'a loss of 0.20 points' in lines[-1]
    scores = iter([0.6, *[0.4] * 9])
    with pytest.raises(UserError, match=r'int8 loses at least 20.00 points of mAP, more than --max-drop 1\. The most sensitive'):
        list(quantise.quantise(lite, tmp_path / 'x.onnx', [], lambda path: next(scores), 'mAP', 1.0))


def test_sensitivities_are_measured_one_block_at_a_time(lite):
    found = quantise.sensitivities(lite, calibration(lite, 1))
    assert set(found) == set(layers(lite)) and list(found.values()) == sorted(found.values(), reverse=True)
    assert min(found.values()) >= 0 < max(found.values())


# The tool ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=['ssdlite_tinynet_e_coco', 'rtmdet_tinynet_e_coco'])
def trained(shapes, tmp_path_factory, request) -> list[str]:  # noqa: F811
    """The config and the checkpoint of a training of one epoch."""
    out = tmp_path_factory.mktemp('trained')
    assert train(shapes, out, '--epochs', '1', config=f'configs/{request.param}.py') == 0
    return [str(out / f'{request.param}.py'), str(out / 'epoch_1.pth')]


@pytest.mark.parametrize(
    'name, more',
    [('model.onnx', ('--batch', '0')), ('model.xml', ()), ('model.param', ()), ('nms.onnx', ('--post', 'nms', '--preprocess'))],
)
def test_a_detector_is_exported_with_its_accuracy(trained, shapes, tmp_path, capsys, name, more):  # noqa: F811
    arguments = [*trained, '--out', str(tmp_path / 'out' / name), '--data-root', str(shapes), '--limit', '2', *more]
    assert tool('export')(arguments) == 0
    printed = capsys.readouterr().out
    assert 'outputs equal those of the model' in printed and 'mAP of the model' in printed and '(batch 4)' in printed
    spec = open_network(tmp_path / 'out' / name).spec
    assert len(spec.checkpoint) == 64 and spec.classes[0] == 'circle' and spec.macs > 1e6 and spec.height == 64
    left = {p.name for p in (tmp_path / 'out').iterdir()}
    assert left == {name, *(f'model{part}' for part in PARTS[Path(name).suffix])}
    write_image(tmp_path / 'a.png', IMAGES[0])
    assert tool('predict')([str(tmp_path / 'out' / name), str(tmp_path / 'a.png'), '--out', str(tmp_path / 'drawn')]) == 0


def test_int8_of_the_tool(trained, shapes, tmp_path, capsys):  # noqa: F811
    more = ['--limit', '2', '--int8', '--max-drop', '100']
    arguments = [*trained, '--out', str(tmp_path / 'int8.onnx'), '--data-root', str(shapes), *more]
    assert tool('export')(arguments) == 0
    assert 'int8: mAP' in capsys.readouterr().out and open_network(tmp_path / 'int8.onnx').spec.precision == 'int8'


def test_an_accuracy_that_differs_leaves_the_old_file(trained, shapes, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / 'model.onnx').write_bytes(b'old')
    monkeypatch.setattr(evaluation, 'detector_map', lambda detect, split, batch=1, limit=None: 0.5 + 0.01 * batch)
    with pytest.raises(UserError, match=r'mAP of the file is 51.00 \(batch 1\), 54.00 \(batch 4\), but 51.00 of the model'):
        tool('export')([*trained, '--out', str(tmp_path / 'model.onnx'), '--data-root', str(shapes)])
    assert [p.name for p in tmp_path.iterdir()] == ['model.onnx'] and (tmp_path / 'model.onnx').read_bytes() == b'old'


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--out', 'x.tflite'], 'the suffix selects the format'),
        (['--out', 'x.onnx', '--int8'], '--int8 needs --data-root'),
        (['--out', 'x.onnx', '--calibration', 'd'], '--calibration is for --int8'),
        (['--out', 'x.onnx', '--batch', '-1'], 'or 0 for any number'),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(arguments, words, capsys):
    with pytest.raises(SystemExit):
        tool('export')(['config.py', 'model.pth', *arguments])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize('post', ['raw', 'nms'])
def test_int8_needs_boxes_and_scores_also_in_python(post, tmp_path):
    with pytest.raises(UserError, match=f'export with --post decoded instead of {post}'):
        check_target(tmp_path / 'x.onnx', Options(post, int8=True))


@pytest.mark.parametrize('config', ['rtmdet_tiny', 'yolox_nano', 'rtmdet_tinynet_e'])
def test_an_input_size_that_the_points_do_not_divide_is_refused_before_the_weights_are_read(config):
    with pytest.raises(UserError, match='an input of 330 pixels does not fit .*Head: give a multiple of 32'):
        load_trained(f'configs/{config}_coco.py', 'nowhere.pth', input_size=330)


def test_a_classifier_is_measured_on_class_folders(tmp_path):
    model = image_classifier()
    pipeline = [dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=40), dict(type='CenterCrop', crop_size=32)]
    for split in ('train', 'val'):
        for index, name in enumerate(('a', 'b')):
            for number in range(3):
                write_image(tmp_path / split / name / f'{number}.png', IMAGES[(index + number) % 3])
    model.dataset_meta = dict(classes=tuple('abcdefghij'[: model.head.num_classes]))
    found = evaluation.top1(lambda images: np.eye(2)[[0] * len(images)], tmp_path / 'val', ('a', 'b'), batch=2)
    assert found == 0.5
    with pytest.raises(UserError, match='has other classes than the model'):
        evaluation.of_classifier(lambda images: None, tmp_path, ('a', 'c')).of_model()
    spec = export_model(model, pipeline, tmp_path / 'model.onnx', Options())
    batches = evaluation.calibration_batches(sorted((tmp_path / 'train').rglob('*.png')), spec, 4)
    assert len(batches) == 4 and batches[0].shape == (1, 3, 32, 32)


def test_the_config_of_the_model_is_used():
    from tinynet_mm.mmlab.configs import test_pipeline

    assert test_pipeline(Config(dict(test_dataloader=dict(dataset=dict(dataset=dict(pipeline=STRETCH))))))[0].type
    with pytest.raises(UserError, match='no test_dataloader with a pipeline'):
        test_pipeline(Config(dict(model=dict())))

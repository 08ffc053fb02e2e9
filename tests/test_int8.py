"""int8: 7-bit weights, reuse of calibration, agreement on images without labels, and the table of accuracy and latency."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from runtime_models import IMAGES, exported
from test_detection_tools import tool

from tinynet_mm.bench import int8
from tinynet_mm.bench.int8 import ALL, FLOAT, GATED, Variant, variants
from tinynet_mm.bench.latency import Contender, Protocol
from tinynet_mm.data.folders import folder_images
from tinynet_mm.data.images import write_image
from tinynet_mm.deploy import agreement
from tinynet_mm.deploy.backends import open_network
from tinynet_mm.deploy.evaluation import Evaluation
from tinynet_mm.deploy.export import Options, export, export_onnx, random_images
from tinynet_mm.deploy.quantise import Attempt, layers, loss, quantise_onnx, quantise_openvino
from tinynet_mm.deploy.runtime import Classifier as ClassifierFile
from tinynet_mm.deploy.runtime import Detector
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import UserError
from tinynet_mm.files import read_csv, write_csv
from tinynet_mm.mmlab.checkpoints import build_model
from tinynet_mm.mmlab.configs import load_config
from tinynet_mm.mmlab.trained import load_trained
from tinynet_mm.models import Classifier, ScaledEfficientNet

CONFIG = 'configs/cifar10/tinynet_e_cifar10.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Two classes in train and val, three images of each."""
    root = tmp_path_factory.mktemp('classes')
    for split in ('train', 'val'):
        for index, name in enumerate(('a', 'b')):
            for number in range(3):
                write_image(root / split / name / f'{number}.png', IMAGES[number][: 64 + index, :64])
    return root


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """Random weights of a classifier with two classes and spread answers; batch norms have the statistics of random images."""
    cfg = load_config(CONFIG)
    cfg.model.head.num_classes = 2
    model = build_model(cfg, 0).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        model.extract_feat(torch.randn(32, 3, 48, 48, generator=torch.Generator().manual_seed(0)))
        model.head.fc.weight.mul_(100)
    path = tmp_path_factory.mktemp('weights') / 'random.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=('a', 'b')))), path)
    return path


# Files ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('suffix', ['.onnx', '.xml'])
def test_weights_have_7_bits(tmp_path, suffix):
    """Two products of a 7-bit weight and an 8-bit value fit into 16 bits, which processors without VNNI add them in."""
    source, path = exported('ssdlite'), tmp_path / f'int8{suffix}'
    batches = [random_images(open_network(source).spec, 1).numpy()]
    if suffix == '.onnx':
        graph = onnx.load(quantise_onnx(source, path, batches)).graph
        tensors = [onnx.numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT8]
    else:
        import openvino

        ops = openvino.Core().read_model(quantise_openvino(source, path, batches)).get_ops()
        tensors = [op.data for op in ops if op.get_type_name() == 'Constant' and 'int8' in str(op.get_element_type())]
    weights = [np.abs(t.astype(int)) for t in tensors if t.ndim == 4]  # of OpenVINO's depthwise layers, which add in 32 bits: 5
    assert len(weights) > 10 and max(w.max() for w in weights) in (63, 64)


def test_activations_are_part_of_their_int8_layers(tmp_path):
    arch = dict(r=0.2, w=0.3, d=1.0, se=0)
    model = Classifier(ScaledEfficientNet(arch=arch, act_cfg=dict(type='ReLU6')), 5).eval()
    source = export_onnx(model, tmp_path / 'model.onnx', 48)
    batches = [random_images(open_network(source).spec, 1, seed).numpy() for seed in range(4)]
    before, after = (onnx.load(path).graph for path in (source, quantise_onnx(source, tmp_path / 'int8.onnx', batches)))
    assert 'Clip' in {node.op_type for node in before.node} and 'Clip' not in {node.op_type for node in after.node}
    first = list(layers(source).values())[0]
    kept = onnx.load(quantise_onnx(source, tmp_path / 'kept.onnx', batches, first)).graph
    assert [node.op_type for node in kept.node].count('Clip') == len(first) == 2


def test_stored_ranges_replace_the_calibration(tmp_path):
    source, ranges = exported('ssdlite'), tmp_path / 'ranges.json'
    spec = open_network(source).spec
    batches = [random_images(spec, 1, seed).numpy() for seed in range(2)]
    kept = [name for names in list(layers(source).values())[2:] for name in names]
    expected = onnx.load(quantise_onnx(source, tmp_path / 'a.onnx', batches, kept)).graph
    quantise_onnx(source, tmp_path / 'b.onnx', batches, ranges=ranges)
    found = onnx.load(quantise_onnx(source, tmp_path / 'c.onnx', [], kept, ranges)).graph
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


# Images without labels --------------------------------------------------------------------------------------------------------


def test_images_of_a_folder_and_its_sub_folders(data, tmp_path):
    assert len(folder_images(data / 'train')) == 6
    (tmp_path / 'notes.txt').write_text('x')
    with pytest.raises(UserError, match='has no images .*give a folder with images'):
        folder_images(tmp_path)
    with pytest.raises(FileNotFoundError, match='no such folder'):
        folder_images(tmp_path / 'none')


def test_agreement_of_a_classifier_is_the_share_of_equal_classes(monkeypatch, data):
    """The model says 0, 1, 2, 3, 4, 5 for the six images, the file 0, 1, 0, 1, 0, 1."""
    numbers = iter(range(6))
    monkeypatch.setattr(agreement, 'Classifier', lambda path: lambda images: np.eye(6)[[0, 1][: len(images)]])
    found = agreement.of_images(folder_images(data / 'train'), classify=lambda images: np.eye(6)[[next(numbers) for _ in images]])
    assert (found.of_model(), found.images) == (1.0, 6)
    assert found.of_file(Path('x.onnx'), 2) == found.of_file(Path('x.onnx'), 2) == 2 / 6


def test_agreement_of_a_detector_is_the_map_against_its_boxes(tmp_path):
    path, files = exported('ssdlite'), [tmp_path / f'{place}.png' for place in range(3)]
    for file, image in zip(files, IMAGES):
        write_image(file, image)

    def answers(raised: float, shift: float):
        found = Detector(path).detect
        return lambda images: [(f.boxes + shift, f.scores + raised, f.labels) for f in found(images)]

    same, moved = (agreement.of_images(files, detect=answers(0.3, shift)).of_file(path, 2) for shift in (0, 5))
    assert same == pytest.approx(1) and moved < 0.9
    with pytest.raises(UserError, match=r'finds no object with a score of 0.3 or more in 3 images .*--data-root'):
        agreement.of_images(files, detect=answers(-1, 0)).of_file(path, 1)


def test_a_trained_classifier_answers_as_its_file(checkpoint, data, tmp_path):
    trained = load_trained(CONFIG, str(checkpoint), data)
    list(export(trained.model, trained.pipeline, tmp_path / 'x.onnx', Options(), **trained.about))
    answers = trained.functions()['classify'](IMAGES)
    assert answers.shape == (3, 2) and answers.std(axis=0).min() > 1e-4
    np.testing.assert_allclose(ClassifierFile(tmp_path / 'x.onnx')(IMAGES), answers, atol=1e-5)
    assert trained.about['macs'] > 1e6 and len(trained.about['checkpoint']) == 64


def test_a_classifier_is_quantised_with_a_folder_alone(checkpoint, data, tmp_path, capsys):
    out = tmp_path / 'int8.onnx'
    arguments = [CONFIG, str(checkpoint), '--out', str(out), '--int8', '--calibration', str(data / 'train')]
    options = ['--cfg-options', 'model.head.num_classes=2']
    assert tool('export')([*arguments, '--max-drop', '100', *options]) == 0
    assert 'int8: agreement (top-1) 100.00 to' in capsys.readouterr().out
    assert open_network(out).spec.precision == 'int8' and ClassifierFile(out)(IMAGES[0]).shape == (1, 2)


def test_a_folder_replaces_the_training_images_for_calibration(checkpoint, data, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    arguments = [CONFIG, str(checkpoint), '--out', str(tmp_path / 'x.onnx'), '--int8', '--data-root', str(data)]
    with pytest.raises(UserError, match='empty has no images'):
        tool('export')([*arguments, '--calibration', str(tmp_path / 'empty')])
    (tmp_path / 'empty' / 'broken.png').write_bytes(b'x')
    with pytest.raises(UserError, match='broken.png is not an image'):
        tool('export')([*arguments, '--calibration', str(tmp_path / 'empty')])
    assert 'top-1 of the model' in capsys.readouterr().out


# The table --------------------------------------------------------------------------------------------------------------------


def test_the_tool_writes_rows_of_float_and_int8(checkpoint, data, tmp_path, capsys):
    out = tmp_path / 'int8.csv'
    arguments = [CONFIG, str(checkpoint), '--data-root', str(data), '--runs', '3', '--warmup', '1', '--limit', '2']
    assert tool('benchmark_int8')([*arguments, '--max-drop', '100', '--out', str(out)]) == 0
    rows = read_csv(out, ('value_percent', 'median_ms', 'mean_ms', 'p95_ms', 'processor_ms', 'bytes'))
    assert [(row['variant'], row['runtime'].split()[0], row['precision']) for row in rows] == [
        *[(FLOAT, 'onnxruntime', 'fp32'), (ALL, 'onnxruntime', 'int8')],
        *[(FLOAT, 'openvino', 'fp32'), (ALL, 'openvino', 'int8')],
    ]
    for row in rows:
        assert (row['model'], row['images'], row['height'], row['batch']) == ('tinynet_e_cifar10', 4, 48, 1)
        assert row['params'] < row['bytes'] < 6 * row['params'] and row['macs'] > 1e6
        assert (row['speedup'] == '') == (row['drop_points'] == '') == (row['variant'] == FLOAT)
    assert rows[1]['bytes'] < rows[0]['bytes'] and rows[0]['value_percent'] == rows[2]['value_percent']
    assert 'onnx, int8: top-1' in capsys.readouterr().out


@pytest.mark.parametrize(
    'max_drop, names, words',
    [
        (10, [FLOAT, ALL], 'a loss of 10.00 points'),
        (3, [FLOAT, ALL, GATED], 'a loss of 2.00 points, in float: x, y'),
        (1, [FLOAT, ALL], 'int8 loses more than 1 points with 2 blocks in float, so it has no gated row'),
    ],
)
def test_a_gated_file_has_a_row_if_it_is_needed_and_found(monkeypatch, data, max_drop, names, words):
    values = {'float': 0.6, 'int8-0': 0.5, 'int8-1': 0.55, 'int8-2': 0.58}

    def attempts(source, target, batches, score):
        for count in range(3):
            yield Attempt(target(count), score(target(count)), ('x', 'y')[:count])

    monkeypatch.setattr(int8, 'attempts', attempts)
    monkeypatch.setattr(int8, 'calibration_batches', lambda files, spec: [])
    evaluation, notes = Evaluation('top-1', lambda: 0.6, lambda path, batch: values[path.stem], list), []
    source = exported('ssdlite')
    found = list(variants(source, source.with_name('float.onnx'), evaluation, max_drop, notes.append))
    assert [v.name for v in found] == names and words in notes[-1]
    assert [v.kept for v in found[2:]] == [('x', 'y')] * (len(names) - 2)


def test_speedup_is_the_ratio_of_medians_with_its_spread_over_rounds():
    base, wall = np.array([2.0, 4, 9, 4]), np.array([1.0, 4, 3, 1])
    times, before = (np.stack([values, values], axis=1)[:, None] for values in (wall, base))
    contender = Contender(ALL, 'fake 1', Spec('classification', 'logits', (), 32, 32, macs=7), [])
    found = int8.latency(contender, times, before, Protocol(warmup=5))
    assert [float(found[key]) for key in ('median_ms', 'mean_ms', 'speedup')] == [2, 2.25, 2]
    spread = np.percentile([2, 1, 3, 4], (10, 90))
    assert [float(found[key]) for key in ('speedup_p10', 'speedup_p90')] == pytest.approx(spread, rel=0.01)
    assert (found['runs'], found['warmup'], found['threads']) == (4, 5, 1)
    assert int8.latency(replace(contender, name=FLOAT), times, before, Protocol())['speedup'] == ''


def test_the_loss_is_that_against_float_in_the_same_runtime():
    base, variant = Variant(FLOAT, Path('a.xml'), 0.6), Variant(ALL, Path('b.xml'), 0.57)
    evaluation = Evaluation('mAP', lambda: 0.7, lambda path, batch: 0.0, list, 87)
    found = int8.accuracy(variant, base, evaluation)
    assert found == dict(metric='mAP', value_percent='57.00', drop_points='3.00', images=87)
    assert int8.accuracy(base, base, evaluation)['drop_points'] == ''
    assert 100 * (0.673 - 0.671) > 0.2 and loss(0.673, 0.671) == 0.2


def test_rows_of_other_models_sizes_and_machines_stay(tmp_path):
    path = tmp_path / 'int8.csv'
    keys = [('a', 320, 'x', 'd'), ('a', 512, 'x', 'd'), ('a', 320, 'y', 'd'), ('b', 320, 'x', 'd'), ('a', 320, 'x', 'e')]
    rows = [dict(model=m, height=s, width=s, machine=n, data=d, split='val') for m, s, n, d in keys]
    write_csv(path, [row | dict(old=1) for row in rows])
    int8.update(path, [rows[0] | dict(new=2)])
    found = [(row['model'], row['height'], row['machine'], row['data'], row['new']) for row in read_csv(path)]
    assert found == [*((*key, '') for key in keys[1:]), (*keys[0], 2)]
    write_csv(path, [dict(model='a', height=1, width=1)])
    with pytest.raises(UserError, match="no column 'data', so it is another table"):
        int8.earlier_rows(path)


def test_missing_arguments_and_bad_numbers_are_refused(checkpoint, data, capsys):
    with pytest.raises(SystemExit):
        tool('benchmark_int8')([CONFIG, 'x.pth'])
    assert '--data-root is needed' in capsys.readouterr().err
    with pytest.raises(UserError, match='no negative warm-up'):
        tool('benchmark_int8')([CONFIG, str(checkpoint), '--data-root', str(data), '--warmup', '-1'])

"""ncnn files: every head in both forms, the runtime, and what is refused. The reference is the ONNX file in ONNX Runtime."""

import sys

import numpy as np
import onnx
import pytest
from runtime_models import IMAGES, assert_same, exported
from test_export import HEADS, with_pipeline

from tinynet_mm.deploy import export, ncnnfile
from tinynet_mm.deploy.backends import open_network
from tinynet_mm.deploy.export import Options, check_target, convert, export_model
from tinynet_mm.deploy.runtime import Detector
from tinynet_mm.errors import MissingPackageError, UserError

pytest.importorskip('ncnn')
pytest.importorskip('pnnx')


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """An exported SSDLite detector in ncnn."""
    return convert(exported('ssdlite'), tmp_path_factory.mktemp('ncnn') / 'model.param')


@pytest.mark.parametrize('post', ['raw', 'decoded'])
@pytest.mark.parametrize('head', HEADS)
def test_every_head_has_the_outputs_of_its_onnx_file(head, post, tmp_path):
    build, pipeline, preprocessor = HEADS[head]
    model = with_pipeline(build(), pipeline, preprocessor)
    spec = export_model(model, pipeline, tmp_path / 'model.onnx', Options(post))
    found = open_network(convert(tmp_path / 'model.onnx', tmp_path / 'model.param'))
    assert found.spec == spec and {p.name for p in tmp_path.iterdir()} == {f'model.{s}' for s in ('onnx', 'param', 'bin', 'json')}
    images = export.random_images(spec, 1, seed=5).numpy()
    outputs, expected = found.run(images), open_network(tmp_path / 'model.onnx').run(images)
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        assert outputs[name].shape == value.shape
        assert np.abs(outputs[name] - value).max() <= 1e-3 * np.abs(value).max()


def test_the_boxes_are_those_of_the_onnx_file(network):
    for found, expected in zip(Detector(network)(IMAGES), Detector(exported('ssdlite'))(IMAGES), strict=True):
        assert len(expected) and assert_same(found, expected) is None


def test_swapped_outputs_are_found(tmp_path, monkeypatch):
    rename = ncnnfile.renamed
    monkeypatch.setattr(ncnnfile, 'renamed', lambda text, names: rename(text, names | dict(out0='scores', out1='boxes')))
    with pytest.raises((UserError, ValueError)):
        convert(exported('ssdlite'), tmp_path / 'model.param')


def test_only_names_of_inputs_and_outputs_change():
    text = 'Input in0 0 1 in0\nConvolution out01 1 1 in0 out1 0=1\nCrop c 1 1 out1 out12 -23310=1'
    changed = ncnnfile.renamed(text, {'in0': 'images', 'out1': 'scores'})
    assert changed == 'Input images 0 1 images\nConvolution out01 1 1 images scores 0=1\nCrop c 1 1 scores out12 -23310=1'
    assert ncnnfile.layer_types(f'7767517\n3 3\n{text}') == ['Input', 'Convolution', 'Crop']


# Bad input --------------------------------------------------------------------------------------------------------------------


def test_an_operator_that_ncnn_lacks_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules['ncnn'], 'layer_to_index', lambda kind: -1 if kind == 'Clip' else 1)
    with pytest.raises(UserError, match='ncnn does not have the operators Clip; export .onnx'):
        convert(exported('ssdlite'), tmp_path / 'model.param')
    assert not list(tmp_path.iterdir())


def test_a_converter_that_fails_is_one_sentence(tmp_path):
    model = onnx.load(exported('ssdlite'))
    model.graph.node[0].op_type = 'Unknown'
    onnx.save(model, tmp_path / 'model.onnx')
    with pytest.raises(UserError, match='pnnx cannot convert the network to ncnn|does not have the operators'):
        ncnnfile.to_ncnn(tmp_path / 'model.onnx', tmp_path / 'model.param', open_network(exported('ssdlite')).spec)
    assert not (tmp_path / 'model.param').exists()


def test_a_network_that_stops_ncnn_is_one_sentence(network, tmp_path):
    for part in ('.param', '.bin', '.json'):
        (tmp_path / f'model{part}').write_bytes(network.with_suffix(part).read_bytes())
    images = np.zeros((1, 3, 128, 128), np.float32)
    assert ncnnfile.run_apart(tmp_path / 'model.param', images).keys() == {'boxes', 'scores'}
    (tmp_path / 'model.param').write_text('not a network')
    with pytest.raises(UserError, match='ncnn cannot run the converted network .*not a file that ncnn runs'):
        ncnnfile.run_apart(tmp_path / 'model.param', images)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(batch=0), 'no --batch 0'),
        (dict(int8=True, preprocess=True), 'no --int8 and no --preprocess'),
        (dict(post='nms'), 'no --post nms'),
    ],
)
def test_options_that_ncnn_lacks_are_refused(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        check_target(tmp_path / 'model.param', Options(**options))


def test_the_weights_of_another_format_are_not_replaced(tmp_path):
    (tmp_path / 'model.xml').touch()
    with pytest.raises(UserError, match='model.bin belongs to .*model.xml; choose another name'):
        check_target(tmp_path / 'model.param', Options())


@pytest.mark.parametrize('name, part', [('model.param', 'model.json'), ('model.xml', 'model.bin')])
def test_files_of_others_with_the_name_of_a_part_are_not_replaced(tmp_path, name, part):
    (tmp_path / part).write_text('mine')
    with pytest.raises(UserError, match=f'{part} exists and does not belong to {name}'):
        check_target(tmp_path / name, Options())
    (tmp_path / name).touch()
    check_target(tmp_path / name, Options())


def test_parts_are_replaced_together(network, tmp_path, monkeypatch):
    for part in ('.param', '.bin', '.json'):
        (tmp_path / f'model{part}').write_text(f'old {part}')
    copies = []

    def fail_at_the_last(source, target):
        copies.append(target)
        if len(copies) == 3:
            raise OSError(28, 'no space left on device', str(target))
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(export.shutil, 'copyfile', fail_at_the_last)
    with pytest.raises((UserError, OSError)):
        export._move(network, tmp_path / 'model.param')
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {f'model{p}': f'old {p}' for p in ('.param', '.bin', '.json')}


@pytest.mark.parametrize('suffix', ['.bin', '.json'])
def test_a_missing_part_is_named(network, tmp_path, suffix):
    for part in ('.param', '.bin', '.json'):
        if part != suffix:
            (tmp_path / f'model{part}').write_bytes(network.with_suffix(part).read_bytes())
    with pytest.raises(FileNotFoundError, match=f'model{suffix}: no such file, it belongs to model.param'):
        Detector(tmp_path / 'model.param')


def test_broken_files_are_refused(network, tmp_path):
    for part in ('.param', '.bin', '.json'):
        (tmp_path / f'model{part}').write_bytes(network.with_suffix(part).read_bytes())
    (tmp_path / 'model.param').write_text('not a network')
    with pytest.raises(UserError, match='not a file that ncnn runs'):
        Detector(tmp_path / 'model.param')
    (tmp_path / 'model.json').write_text('{}')
    with pytest.raises(UserError, match='no description of tinynet_mm'):
        Detector(tmp_path / 'model.param')
    with pytest.raises(UserError, match='ncnn runs on cpu'):
        Detector(network, device='cuda')


def test_a_missing_package_names_the_pip_command(network, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'ncnn', None)
    with pytest.raises(MissingPackageError, match='pip install ncnn'):
        Detector(network)
    monkeypatch.setitem(sys.modules, 'pnnx', None)
    with pytest.raises(MissingPackageError, match=r'pnnx is not installed: pip install "tinynet_mm\[deploy\]"'):
        convert(exported('ssdlite'), tmp_path / 'model.param')

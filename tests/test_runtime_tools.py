"""The tools on exported files: golden files, images and videos, and a detection from the wheel without torch."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement
from runtime_models import CROP, IMAGES, exported, image_classifier, picture
from test_detection_tools import tool
from test_packaging import FILES, ROOT, SHIPPED

from tinynet_mm.data.images import read_image, write_image
from tinynet_mm.deploy import backends, runtime
from tinynet_mm.deploy.export import Options, export_model
from tinynet_mm.deploy.golden import write_golden
from tinynet_mm.deploy.predict import predict_video
from tinynet_mm.deploy.resize import InputWriter
from tinynet_mm.deploy.runtime import Detections, Detector
from tinynet_mm.deploy.spec import Spec
from tinynet_mm.errors import UserError

# Golden files -----------------------------------------------------------------------------------------------------------------


def test_golden_files_of_a_detector(tmp_path, capsys):
    path = exported('rtmdet')
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


@pytest.mark.parametrize('name', ['ssdlite', 'rtmdet'])
def test_the_golden_files_of_the_documentation_are_reproduced(name):
    """Before and after the network; its outputs are in the file."""
    arrays = np.load(ROOT / 'docs' / 'golden' / name / 'golden.npz')
    spec = Spec.from_json(str(arrays['description']), name)
    writer = InputWriter(spec)
    batch = writer.batch(1)
    placed = writer.write(arrays['image'], batch[0])
    np.testing.assert_array_equal(placed.factors, arrays['factors'])
    np.testing.assert_allclose(batch, arrays['images'], atol=1e-5)
    outputs = {key.removeprefix('output_'): value for key, value in arrays.items() if key.startswith('output_')}
    boxes, scores, labels = Detector.select(SimpleNamespace(spec=spec, score_thr=spec.score_thr), outputs, placed)
    np.testing.assert_allclose(boxes, arrays['final_boxes'], atol=1e-3)
    np.testing.assert_array_equal(scores, arrays['final_scores'])
    np.testing.assert_array_equal(labels, arrays['final_labels'])
    assert len(labels) > 40


def test_golden_files_of_a_classifier(tmp_path):
    model = image_classifier()
    pipeline = [dict(type='LoadImageFromFile'), *CROP, dict(type='PackInputs')]
    export_model(model, pipeline, tmp_path / 'model.onnx', Options(batch=2))
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


def test_a_video_is_drawn_with_its_frames_a_second(clip, tmp_path, capsys):
    path = str(exported('ssdlite'))
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
from importlib.util import find_spec

site, model, image, out = sys.argv[1:]
assert not [name for name in {banned!r} if find_spec(name)]
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
print('without torch')
"""


def needed(wheel: Path, extra: str) -> set[str]:
    """The distributions that pip installs for an extra of a wheel, by the metadata of the wheel and of what is installed."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
        lines = archive.read(name).decode().splitlines()
    asked = [(line.partition(': ')[2], extra) for line in lines if line.startswith('Requires-Dist: ')]
    found: set[str] = set()
    while asked:
        text, wanted = asked.pop()
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({'extra': wanted}):
            continue
        if requirement.name not in found:
            found.add(requirement.name)
            asked += [(text, '') for text in metadata.requires(requirement.name) or ()]
    return found


@pytest.fixture(scope='module')
def environment(tmp_path_factory) -> Path:
    """An environment with the wheel of this checkout and what its extra ``runtime`` needs, and nothing else; its Python."""
    folder = tmp_path_factory.mktemp('wheel')
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / 'source' / name, symlinks=True, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, folder / 'source' / name)
    command = [sys.executable, '-m', 'build', '--wheel', '--no-isolation', '--outdir', folder, folder / 'source']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    wheel = next(folder.glob('*.whl'))
    venv.create(folder / 'env', symlinks=True)
    site = next((folder / 'env').glob('lib/python*/site-packages'))
    zipfile.ZipFile(wheel).extractall(site)
    for name in needed(wheel, 'runtime'):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or ()} - {'..', '__pycache__'}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
    return folder / 'env' / 'bin' / 'python'


def test_the_wheel_detects_without_torch(environment, tmp_path):
    path = exported('ssdlite')
    write_image(tmp_path / 'a.png', IMAGES[0])
    script = tmp_path / 'without.py'
    script.write_text(WITHOUT.format(banned=BANNED))
    site = next(environment.parents[1].glob('lib/python*/site-packages'))
    command = [environment, script, site, path, tmp_path / 'a.png', tmp_path]
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert done.stdout.strip().endswith('without torch'), done.stderr[-3000:]
    expected, found = Detector(path)(IMAGES[0]), np.load(tmp_path / 'found.npz')
    np.testing.assert_array_equal(found['boxes'], expected.boxes)
    rows = json.loads((tmp_path / 'predicted' / 'predictions.json').read_text())
    assert len(rows) == (expected.scores > 0.3).sum() > 0
    assert (tmp_path / 'predicted' / 'a.jpg').is_file() and (tmp_path / 'golden' / 'golden.npz').is_file()

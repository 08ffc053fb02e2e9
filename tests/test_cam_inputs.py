"""tools/cam.py from end to end: class names of a data set, and file names that are not UTF-8."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tinynet_mm.cam import tasks
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import configs
from tinynet_mm.mmlab.checkpoints import build_model

ROOT = Path(__file__).parent.parent
NAMES = ['ant', 'bee', 'wasp']
CONFIG = """
_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
model = dict(head=dict(num_classes=3))
steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
test_dataloader = dict(dataset=dict(_delete_=True, type='CustomDataset', data_root='', pipeline=steps))
"""


def load_tool():
    spec = importlib.util.spec_from_file_location('tools_cam', ROOT / 'tools' / 'cam.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_picture(path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())  # OpenCV itself crashes on some of the names


def rows_of(folder: Path) -> list[dict]:
    with open(folder / 'maps.csv', newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def classifier(tmp_path) -> list[str]:
    """The config of a classifier of three classes, and its checkpoint; neither names the classes."""
    config = tmp_path / 'classifier.py'
    config.write_text(CONFIG)
    model = build_model(configs.load_config(str(config)), seed=0)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    return [str(config), str(tmp_path / 'a.pth')]


@pytest.fixture
def image(tmp_path) -> Path:
    write_picture(tmp_path / 'a.png')
    return tmp_path / 'a.png'


def data_set(root: Path, names: list[str]) -> Path:
    """Class folders with one image each."""
    for name in names:
        (root / 'train' / name).mkdir(parents=True)
        write_picture(root / 'train' / name / '0.png')
    return root


def test_data_root_names_the_classes_of_a_classifier(classifier, image, tmp_path):
    main, root, out = load_tool().main, data_set(tmp_path / 'data', NAMES), tmp_path / 'out'
    argv = [*classifier, str(image), '--out', str(out), '--method', 'eigencam']
    assert main([*argv, '--data-root', str(root), '--target', 'class=BEE']) == 0
    assert [row['classes'] for row in rows_of(out)] == ['bee']
    assert main([*argv, '--data-root', str(root), '--target', 'all']) == 0
    rows = rows_of(out)
    assert sorted(row['classes'] for row in rows) == NAMES
    assert all((out / row['file']).stem.endswith(row['classes']) for row in rows)
    with pytest.raises(UserError, match='the class names of this model are unknown; give its data set with --data-root'):
        main([*argv, '--target', 'class=bee'])
    with pytest.raises(UserError, match=r"none of the 3 classes of this model is 'be'. Did you mean bee\?"):
        main([*argv, '--data-root', str(root), '--target', 'class=be'])


def test_a_data_set_with_another_number_of_classes_is_refused(classifier, image, tmp_path):
    root = data_set(tmp_path / 'data', NAMES[:2])
    with pytest.raises(UserError, match=r'has 2 classes \(ant, bee\), the model has 3: give the data set'):
        load_tool().main([*classifier, str(image), '--data-root', str(root)])


def test_names_of_the_checkpoint_keep_their_order(classifier, tmp_path):
    config, checkpoint = classifier
    content = torch.load(checkpoint) | dict(meta=dict(dataset_meta=dict(classes=NAMES[::-1])))
    torch.save(content, checkpoint)
    for names in (NAMES, NAMES[:2], ['cat', 'dog']):  # of a data set with fewer or other classes, for instance of --evaluate
        root = data_set(tmp_path / '-'.join(names), names)
        assert tasks.load(config, checkpoint, root).classes == NAMES[::-1]


def test_notes_of_the_data_set_are_shown_as_notes(tmp_path, image, capsys):
    root = tmp_path / 'coco'
    (root / 'annotations').mkdir(parents=True)
    (root / 'images').mkdir()
    write_picture(root / 'images' / '0.png')
    content = dict(images=[dict(id=0, file_name='0.png', height=48, width=64)], categories=[dict(id=1, name='ant')])
    content['annotations'] = [dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)]
    (root / 'annotations' / 'train.json').write_text(json.dumps(content))
    (root / 'annotations' / 'val.json').write_text(json.dumps(content))
    config = str(ROOT / 'configs' / 'ssdlite_tinynet_e_coco.py')
    argv = [config, '--random-weights', str(image), '--data-root', str(root), '--input-size', '64', '--out', str(tmp_path)]
    assert load_tool().main([*argv, '--method', 'eigencam']) == 0
    printed = capsys.readouterr()
    assert any(line.startswith('note: ') and 'test' in line for line in printed.out.splitlines()), printed


# File names that are not UTF-8 ------------------------------------------------------------------------------------------------

CALLS = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('tools_cam', sys.argv[1])
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)
for argv in json.load(open(sys.argv[2])):
    assert tool.main(argv) == 0
"""


def run_in_process(calls: list[list[str]], folder: Path) -> subprocess.CompletedProcess:
    """Calls of the tool's main in another process, which may crash."""
    (folder / 'calls.json').write_text(json.dumps(calls))
    command = [sys.executable, '-c', CALLS, str(ROOT / 'tools' / 'cam.py'), str(folder / 'calls.json')]
    return subprocess.run(command, capture_output=True, timeout=300, env=os.environ | dict(PYTHONPATH=str(ROOT)))


def test_file_names_that_are_not_utf8(classifier, tmp_path):
    folder = tmp_path / os.fsdecode(b'f\xe9')
    folder.mkdir()
    images = [folder / os.fsdecode(name) for name in (b'a\xff.png', b'a\xfe.png')]
    for path in images:
        write_picture(path)
    write_picture(folder / 'b.png')
    root = data_set(tmp_path / 'data', ['ant', 'bee', os.fsdecode(b'gu\xeape')])
    more = ['--method', 'eigencam', '--target', 'all', '--data-root', str(root)]
    one, all_three, figure = (tmp_path / name for name in ('one', 'all', 'figure'))
    calls = [
        [*classifier, str(images[0]), '--out', str(one), *more],
        [*classifier, str(folder), '--out', str(all_three), *more],
        [str(images[0]), '--compare', '='.join(classifier), '--out', str(figure), *more],
    ]
    done = run_in_process(calls, tmp_path)
    assert done.returncode == 0, done.stderr.decode(errors='replace')[-2000:]
    rows = rows_of(one)
    assert {row['image'] for row in rows} == {f'{tmp_path}/f\\xe9/a\\xff.png'}
    assert {row['classes'] for row in rows} == {'ant', 'bee', 'gu\\xeape'}
    assert all((one / row['file']).is_file() and row['file'].startswith('a\\xff_') for row in rows)
    rows = rows_of(all_three)
    assert len({row['file'] for row in rows}) == 9 and all((all_three / row['file']).is_file() for row in rows)
    assert (tmp_path / 'figure.png').is_file()

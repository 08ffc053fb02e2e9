"""Class folders: the check before training, the class names, and annotations that training cannot read."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from tinynet_mm import cli
from tinynet_mm.data.check import check_root
from tinynet_mm.data.coco import read_coco
from tinynet_mm.data.folders import named_classes
from tinynet_mm.data.memory import MemoryImages
from tinynet_mm.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    for split in ('train', 'val'):
        for name in ('ant', 'bee'):
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(2):
                cv2.imwrite(str(tmp_path / split / name / f'{index}.png'), np.zeros((8, 8, 3), np.uint8))
    return tmp_path


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def check_dataset(*arguments: str) -> int:
    return tool('check_dataset')(list(arguments))


def test_every_image_of_the_class_folders_is_decoded(folder):
    assert [(report.images, report.classes, report.fatal) for report in check_root(folder)] == [(4, 2, ())] * 2
    (folder / 'val' / 'bee' / '1.png').write_bytes(b'no image')
    train, val = check_root(folder)
    assert not train.fatal and val.fatal[0].count == 1 and 'bee/1.png' in val.fatal[0].example


def test_the_folder_of_a_classifier_is_checked(folder, capsys):
    config = str(ROOT / 'configs' / 'cifar10' / 'tinynet_e_cifar10.py')
    assert check_dataset(config, '--data-root', str(folder)) == 0
    (folder / 'train' / 'ant' / '0.png').write_bytes(b'')
    assert check_dataset(config, '--data-root', str(folder)) == 1
    printed = capsys.readouterr().out
    assert 'ant/0.png is not an image that can be read (the file is empty): replace them, save them again' in printed
    assert 'train: 4 images, 2 classes\n' in printed and '0 boxes' not in printed
    (folder / 'val' / 'ant' / '0.png').unlink()
    (folder / 'val' / 'ant' / '1.png').unlink()
    with pytest.raises(UserError, match='class ant without an image'):
        check_dataset('--data-root', str(folder))


@pytest.mark.parametrize('name, sentence', [('{{x}}', 'which MMEngine evaluates'), ('x' * 220, 'has over 200 characters')])
@pytest.mark.parametrize('config', ['cifar10/tinynet_e_cifar10.py', 'imagenet/tinynet_e_in1k.py'])
def test_the_names_of_classes_are_checked_before_a_training(config, name, sentence, folder, tmp_path_factory):
    """A checkpoint with such a name is not read again."""
    for split in ('train', 'val'):
        (folder / split / 'ant').rename(folder / split / name)
    out = tmp_path_factory.mktemp('out')
    arguments = [str(ROOT / 'configs' / config), '--data-root', str(folder), '--work-dir', str(out / 'run'), '--from-scratch']
    with pytest.raises(UserError, match=f'train: the name .*{sentence}'):
        tool('train')(arguments)
    assert not list(out.iterdir())
    for read in (named_classes, lambda root: list(check_root(root)), lambda root: MemoryImages(str(root / 'train'))):
        with pytest.raises(UserError, match=sentence):
            read(folder)


def test_a_data_set_names_the_classes_of_a_classifier(folder, tmp_path_factory):
    assert named_classes(folder) == ['ant', 'bee']
    coco = tmp_path_factory.mktemp('coco')
    (coco / 'annotations').mkdir()
    (coco / 'images').mkdir()
    content = dict(images=[], annotations=[], categories=[dict(id=7, name='wasp')])
    (coco / 'annotations' / 'val.json').write_text(json.dumps(content))
    assert named_classes(coco) == ['wasp']


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'latin-1'])
def test_annotations_that_pycocotools_does_not_read_are_refused(tmp_path, encoding):
    """mmdet's CocoDataset reads annotations with pycocotools."""
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='caf\xe9')])
    text = json.dumps(content, ensure_ascii=False)
    (tmp_path / 'a.json').write_bytes(text.encode(encoding))
    with pytest.raises(ValueError):
        COCO(str(tmp_path / 'a.json'))
    with pytest.raises(UserError, match='not JSON in UTF-8 without a byte order mark'):
        read_coco(tmp_path / 'a.json')
    (tmp_path / 'a.json').write_bytes(text.encode())
    assert read_coco(tmp_path / 'a.json') == content == COCO(str(tmp_path / 'a.json')).dataset


def test_a_link_to_a_missing_image_is_a_finding(folder):
    (folder / 'train' / 'ant' / '2.png').symlink_to(folder / 'nowhere.png')
    train, _ = check_root(folder)
    assert train.fatal[0].count == 1 and 'ant/2.png: no such image' in train.fatal[0].example


@pytest.mark.parametrize('text', ['nan', '7', '-0.1'])
def test_a_score_threshold_is_a_probability(text):
    with pytest.raises(Exception, match='is not between 0 and 1'):
        cli.probability(text)
    assert cli.probability('0.3') == 0.3

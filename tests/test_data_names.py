"""Image files whose names are not UTF-8: the check and the training read them in the same way, and no tool crashes.

OpenCV ends a process with a segmentation fault if it gets such a name, so the tools run in a new process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

from tinynet_mm.data.check import check_class_folders, check_root, check_split
from tinynet_mm.data.coco import adopt
from tinynet_mm.data.images import read_image, write_image
from tinynet_mm.data.memory import MemoryImages
from tinynet_mm.training.datasets import ClassFolders

ROOT = Path(__file__).parents[1]
NAME = os.fsdecode(b'caf\xe9.png')
LOAD = [dict(type='LoadImageFromFile')]


DRIVER = """
import runpy, sys
main = runpy.run_path('tools/check_dataset.py')['main']
for arguments in sys.argv[1:]:
    print('exit status', main(arguments.split('|')))
"""


@pytest.fixture
def coco(tmp_path) -> Path:
    """One image with one box; JSON stores the name as an escaped surrogate, as Python writes it."""
    write_image(tmp_path / 'images' / NAME, np.full((32, 32, 3), 9, np.uint8))
    box = dict(id=1, image_id=1, category_id=1, bbox=[20, 4, 30, 20], area=600, iscrowd=0)
    image = dict(id=1, file_name=NAME, width=32, height=32)
    content = dict(images=[image], annotations=[box], categories=[dict(id=1, name='cup')])
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations' / 'train.json').write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def folders(tmp_path) -> Path:
    """Two classes of two images; a class and an image have such names."""
    for split in ('train', 'val'):
        for label, name in enumerate(('ant', os.fsdecode(b'b\xe9e'))):
            for file in ('0.png', NAME):
                write_image(tmp_path / split / name / file, np.full((8, 8, 3), 50 + label, np.uint8))
    return tmp_path


def test_the_tool_checks_valid_and_broken_files(coco, folders):
    """All in one new process, because it needs seconds to start; its output is strict UTF-8, as in most terminals."""
    empty = coco / 'images' / os.fsdecode(b'empty\xe9.png')
    empty.write_bytes(b'')
    content = json.loads((coco / 'annotations' / 'train.json').read_text())
    content['images'].append(dict(id=2, file_name=empty.name, width=32, height=32))
    (coco / 'annotations' / 'broken.json').write_text(json.dumps(content))
    config = f'configs/cifar10/tinynet_e_cifar10.py|--data-root|{folders}'
    pairs = [f'{coco}/annotations/{name}.json|{coco}/images' for name in ('train', 'broken')]
    command = [sys.executable, '-c', DRIVER, *pairs, config]
    environment = os.environ | {'PYTHONIOENCODING': 'utf-8:strict'}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    valid, broken, classes = done.stdout.split('exit status')[:3]
    assert 'boxes partly outside the image' in valid and 'in caf?.png (32x32)' in valid
    assert 'empty?.png is not an image that can be read (the file is empty)' in broken
    assert classes.count('4 images, 2 classes') == 2
    assert [line for line in done.stdout.splitlines() if line.startswith('exit')] == [f'exit status {n}' for n in (0, 1, 0)]


def test_training_reads_what_the_check_accepts(coco, folders):
    """The data sets of mmdet, of ImageNet and in memory."""
    assert not any(report.fatal for report in (*check_root(coco), *check_class_folders([folders / 'train'])))
    data = dict(type='mmdet.CocoDataset', ann_file='', data_prefix=dict(img=''), pipeline=LOAD, filter_cfg=None)
    cfg = Config(dict(model=dict(), train_dataloader=dict(dataset=data)))
    adopt(cfg, coco, splits=('train',))
    record = DATASETS.build(cfg.train_dataloader.dataset)[0]
    assert Path(record['img_path']).name == NAME and (record['img'] == 9).all()
    pixels = [record['img'] for record in ClassFolders(str(folders), 'train', LOAD)]
    memory = MemoryImages(str(folders / 'train')).images.pixels
    assert [image[0, 0, 0] for image in pixels] == [50, 50, 51, 51] == memory[:, 0, 0, 0].tolist()


def test_findings_can_be_printed(coco):
    """Training prints the report of the check too."""
    report = check_split(coco / 'annotations' / 'train.json', coco / 'images')
    assert all(b'caf?.png' in str(text).encode() for text in (report, report.findings[0]))
    np.testing.assert_array_equal(read_image(coco / 'images' / NAME), np.full((32, 32, 3), 9))


def test_a_name_that_no_file_can_have_is_a_missing_image(coco):
    """A lone surrogate outside the range of undecodable bytes."""
    file = coco / 'annotations' / 'train.json'
    file.write_text(file.read_text().replace(r'\udce9', r'\ud800'))
    report = check_split(file, coco / 'images')
    assert [finding.kind for finding in report.fatal] == ['missing images'] and b'caf?.png' in str(report).encode()

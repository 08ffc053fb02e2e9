"""Conversion of Pascal VOC, YOLO, LabelMe and CVAT sets: the boxes, what is held out, the written folder."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from annotation_sets import (
    CLASSES,
    HEIGHT,
    LAYOUTS,
    TRUTH,
    WIDTH,
    boxes_of,
    cvat,
    image,
    labelme,
    read,
    rows_of,
    text,
    tool,
    voc,
    yolo,
    yolo_beside,
    yolo_flat,
)
from mmengine.config import Config
from mmengine.registry import DATASETS

from tinynet_mm.data.check import check_root
from tinynet_mm.data.coco import adopt, find_layout
from tinynet_mm.data.convert import FOLDER, convert, file_name
from tinynet_mm.data.folders import named_classes
from tinynet_mm.data.holdout import held_out
from tinynet_mm.errors import UserError
from tinynet_mm.files import write_json

# Formats ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_gives_the_boxes_that_were_written(layout, tmp_path):
    root = LAYOUTS[layout](tmp_path)
    before = {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}
    done = convert(root)
    assert done.note.count('5 images (train 3, val 1, test 1), 7 boxes, 2 classes (bolt, nut)') == 1 and '\n' not in done.note
    for split, expected in TRUTH.items():
        found = boxes_of(read(done.folder, split))
        assert found.keys() == expected.keys()
        for name, boxes in expected.items():
            assert [box[0] for box in found[name]] == [box[0] for box in boxes]
            assert np.allclose([box[1:] for box in found[name]], [box[1:] for box in boxes], atol=2e-3)
    assert before == {path: path.read_bytes() for path in before}


def test_yolo_with_images_and_labels_in_one_folder(tmp_path):
    done = convert(yolo_flat(tmp_path))
    assert '5 images (train 4, val 1, 20% of the images are held out for val), 7 boxes, 2 classes' in done.note
    found = boxes_of(read(done.folder, 'train')) | boxes_of(read(done.folder, 'val'))
    expected = {name: boxes for entries in TRUTH.values() for name, boxes in entries.items()}
    assert found.keys() == expected.keys()
    for name, boxes in expected.items():
        assert np.allclose([box[1:] for box in found[name]], [box[1:] for box in boxes], atol=2e-3)
    image(tmp_path / 'work_dirs' / 'curves.png')
    assert '5 images' in convert(tmp_path).note, 'pictures of a training inside the set are not images of it'
    assert convert(tmp_path).note is None
    text(tmp_path / 'classes.txt', 'bolt\nnut\n\n')
    assert '5 images' in convert(tmp_path).note
    assert '5 images' in convert(yolo_beside(tmp_path / 'images', folder='images', names='images/classes.txt')).note


def test_yolo_whose_first_images_have_no_labels(tmp_path):
    splits = dict(train={f'a{number:03d}': [] for number in range(120)} | TRUTH['train'])
    root = yolo(tmp_path, splits)
    (root / 'data.yaml').unlink()
    text(root / 'classes.txt', '\n'.join(CLASSES))
    assert '123 images' in convert(root).note


@pytest.mark.parametrize('layout', ['voc', 'yolo, roboflow', 'labelme', 'cvat'])
def test_mmdet_reads_the_adopted_set_and_the_check_accepts_it(layout, tmp_path):
    root = LAYOUTS[layout](tmp_path)
    dataset = dict(type='mmdet.CocoDataset', ann_file='y', data_prefix=dict(img='z'), pipeline=[])
    cfg = Config(dict(model=dict(head=dict(num_classes=80)), train_dataloader=dict(dataset=dataset)))
    said = []
    assert adopt(cfg, root, ('train',), note=said.append).classes == CLASSES and len(said) == 1
    built = DATASETS.build(dict(cfg.train_dataloader.dataset))
    assert len(built) == 3 and cfg.model.head.num_classes == 2
    assert all(Path(built.get_data_info(i)['img_path']).is_file() for i in range(3))
    reports = list(check_root(root))
    assert [(report.images, report.boxes, report.fatal) for report in reports] == [(3, 3, ()), (1, 1, ()), (1, 3, ())]
    assert named_classes(root) == list(CLASSES)


def test_images_that_are_rotated_by_exif_keep_their_shape(tmp_path):
    from PIL import Image

    root = yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (HEIGHT, WIDTH)).save(root / 'images' / 'train' / 'a.jpg', exif=exif)  # shown as WIDTH x HEIGHT
    (root / 'images' / 'train' / 'a.png').unlink()
    first = read(convert(root).folder, 'train')['images'][0]
    assert (first['width'], first['height']) == (WIDTH, HEIGHT)


def test_polygons_and_poses_of_yolo_become_boxes(tmp_path):
    root = yolo(tmp_path)
    text(root / 'labels' / 'val' / 'c.txt', '1 0.1 0.5 0.4 0.2 0.3 0.9\n\n')
    (box,) = boxes_of(read(convert(root).folder, 'val'))['c']
    assert box[0] == 'nut' and np.allclose(box[1:], [4, 6, 16, 27])
    root = yolo(tmp_path / 'pose', dict(train=TRUTH['train']), yaml='names: [bolt, nut]\nkpt_shape: [2, 2]\n')
    text(root / 'labels' / 'train' / 'b.txt', '0 0.5 0.5 0.2 0.4 0.1 0.1 0.9 0.9\n')
    content = read(convert(root).folder, 'train') | {}
    content = boxes_of(content) | boxes_of(read(convert(root).folder, 'val'))
    assert np.allclose(content['b'][0][1:], [16, 9, 24, 21])


@pytest.mark.parametrize(
    'row, expected',
    [
        ('1 0.5 0.5 1.002 1.0', [0, 0, 40, 30]),
        ('1 0.0 0.5 0.4 0.2', [-8, 12, 8, 18]),
        ('1.0 0.5 0.5 0.5 0.5', [10, 7.5, 30, 22.5]),
    ],
)
def test_a_tiny_excess_is_clipped_and_a_large_one_is_left_to_the_check(row, expected, tmp_path):
    root = yolo(tmp_path)
    text(root / 'labels' / 'val' / 'c.txt', row)
    (box,) = boxes_of(read(convert(root).folder, 'val'))['c']
    assert np.allclose(box[1:], expected, atol=2e-3)
    kinds = [finding.kind for report in check_root(root) for finding in report.findings]
    assert ('boxes partly outside the image' in kinds) == (expected[0] < 0)


def test_other_shapes_of_labelme_and_cvat(tmp_path):
    root = labelme(tmp_path / 'labelme')
    shapes = [
        dict(label='nut', shape_type='circle', points=[[20, 15], [23, 19]]),
        dict(label='nut', shape_type='point', points=[[1, 1]]),
    ]
    text(root / 'val' / 'c.json', json.dumps(dict(shapes=shapes, imagePath='..\\val\\c.png', imageWidth=None, imageHeight=None)))
    done = convert(root)
    assert (
        boxes_of(read(done.folder, 'val'))['c'] == [('nut', 15, 10, 25, 20)] and '1 shape of the type point left out' in done.note
    )
    extra = (
        '<polygon label="nut" points="1.0,2.0;11.0,2.0;6.0,12.0"/><ellipse label="nut" cx="10" cy="10" rx="3" ry="2"/>'
        '<box label="nut" xtl="10" ytl="10" xbr="20" ybr="12" rotation="90"/><points label="nut" points="1,1"/>'
    )
    done = convert(cvat(tmp_path / 'cvat', extra))
    found = boxes_of(read(done.folder, 'train'))['empty']
    assert np.allclose([box[1:] for box in found], [(1, 2, 11, 12), (7, 8, 13, 12), (14, 6, 16, 16)])
    assert '5 shapes of the type points left out' in done.note


def test_images_without_a_file_of_their_own_are_counted(tmp_path):
    """They can be images without objects or images that nobody looked at; a split list or YOLO says which."""
    for number, root in enumerate((voc(tmp_path / 'voc', lists=False), labelme(tmp_path / 'labelme', folders=False))):
        assert 'left out' not in convert(root).note
        first = next(iter([*root.rglob('*.xml'), *root.glob('*.json')]))
        first.unlink()
        assert '4 images (train 3, val 1, 25% of the images are held out for val)' in (note := convert(root).note)
        assert note.endswith(f'1 image without {("XML", "JSON")[number]} left out')


def test_folders_of_splits_that_data_yaml_does_not_name(tmp_path):
    """They are used, unless another split has their images."""
    names = 'names: [bolt, nut]'
    assert (
        'train 3, val 1, test 1)' in convert(yolo(tmp_path / 'a', yaml=f'train: images/train\nval: images/val\n{names}\n')).note
    )
    for number, train in enumerate(('[images/train, images/test]', 'images')):
        val = 'val: images/val\n' if number == 0 else ''
        note = convert(yolo(tmp_path / f'b{number}', yaml=f'train: {train}\n{val}{names}\n')).note
        assert ('train 4, val 1)' if number == 0 else '5 images (train 3, val 2, 40% of the images are held out') in note


def test_training_is_a_name_of_train(tmp_path):
    root = yolo(tmp_path, yaml='names: [bolt, nut]\n')
    for part in ('images', 'labels'):
        (root / part / 'train').rename(root / part / 'training')
    assert '5 images (train 3, val 1, test 1)' in convert(root).note


# What is held out -------------------------------------------------------------------------------------------------------------


def test_each_class_with_two_images_is_in_both_parts():
    rng = np.random.default_rng(3)
    classes = [set(rng.choice(12, rng.integers(0, 4), replace=False, p=np.arange(1, 13) / 78).tolist()) for _ in range(150)]
    classes += [{'rare'}, {'rare', 3}, {'single'}]
    chosen = set(held_out(classes, 0.2, seed=1))
    for name in set().union(*classes):
        members = {i for i, found in enumerate(classes) if name in found}
        assert len(members) == 1 or 0 < len(members & chosen) < len(members), name
        assert len(members) < 20 or 0.1 <= len(members & chosen) / len(members) <= 0.3
    empty = {i for i, found in enumerate(classes) if not found}
    assert len(chosen & empty) == round(0.2 * len(empty)) and 0.15 <= len(chosen) / len(classes) <= 0.3
    assert sorted(chosen) == held_out(classes, 0.2, seed=1) != held_out(classes, 0.2, seed=2)


def test_classes_that_cross_are_divided():
    """The rarest classes alone can decide on all images of another class, so a single draw can leave one out."""
    for seed in range(20):
        chosen = set(held_out([{'a', 'c'}, {'b', 'c'}, {'a'}, {'b'}], 0.5, seed))
        assert all(0 < len(chosen & members) < 2 for members in ({0, 2}, {1, 3}, {0, 1}))


def many(count: int = 20) -> dict:
    return dict(train={f'i{n:02d}': [(CLASSES[n % 2], 2, 3, 12, 20)] if n % 5 else [] for n in range(count)})


@pytest.mark.parametrize('write', [lambda root, sets: voc(root, sets, lists=False), yolo, yolo_flat])
def test_a_set_without_val_is_divided_once(write, tmp_path):
    root = write(tmp_path, many())
    layout = find_layout(root, note=lambda text: None)
    parts = {split: {Path(entry['file_name']).stem for entry in read(layout.root, split)['images']} for split in ('train', 'val')}
    assert len(parts['val']) == 5 and len(parts['train']) == 15 and not parts['train'] & parts['val']  # 2 + 2 + 1 without boxes
    assert '0.2 of the images of each class are held out' in read(layout.root, 'val')['info']['division']
    assert convert(root).note is None and convert(root, val_share=0.2).note is None
    assert 'train 10, val 10, 50% of the images are held out' in convert(root, val_share=0.5).note
    assert convert(root).note is None, 'a call without a share keeps the last division'


def test_a_coco_set_with_train_only_is_divided_for_a_training(tmp_path, capsys):
    source = convert(yolo(tmp_path / 'source', many())).folder
    root = tmp_path / 'coco'
    content = read(source, 'train')
    for entry in content['images']:
        entry['file_name'] = Path(entry['file_name']).name
        image(root / 'images' / entry['file_name'])
    text(root / 'annotations' / 'train.json', json.dumps(content))
    assert find_layout(root).val is None
    said = []
    layout = find_layout(root, hold_out=True, note=said.append)
    assert len(said) == 1 and 'has no val and no test' in said[0]
    assert len(read(layout.root, 'train')['images']) + len(read(layout.root, 'val')['images']) == len(content['images'])
    assert all(not report.fatal for report in check_root(root)), 'an earlier division is used'
    assert find_layout(root) == layout and tool('convert_dataset')([str(root)]) == 0
    assert 'unchanged' in capsys.readouterr().out
    assert tool('convert_dataset')([str(root), '--out', str(tmp_path / 'out')]) == 0
    assert all(not report.fatal for report in check_root(tmp_path / 'out')), 'its images are those of the marker'


@pytest.mark.parametrize('name', ['annotations/instances_default.json', 'result.json', '_annotations.coco.json'])
def test_one_coco_file_without_splits(name, tmp_path):
    content = read(convert(yolo(tmp_path / 'source', many())).folder, 'train')
    for entry in content['images']:
        entry['file_name'] = Path(entry['file_name']).name
        image(tmp_path / 'coco' / 'images' / entry['file_name'])
    text(tmp_path / 'coco' / name, json.dumps(content))
    layout = find_layout(tmp_path / 'coco', hold_out=True, note=lambda text: None)
    assert layout.val and not any(report.fatal for report in check_root(tmp_path / 'coco'))


def test_a_share_without_effect_is_named(tmp_path):
    for root in (yolo(tmp_path / 'yolo'), convert(voc(tmp_path / 'voc')).folder):
        find_layout(root, note=lambda text: None)
        said = []
        find_layout(root, val_share=0.4, note=said.append)
        assert said == [f'{root} has a val or test split, so --val-share has no effect.']


# The written folder -----------------------------------------------------------------------------------------------------------


def stop_at_val(path: Path, *arguments, **options) -> None:
    if path.name == 'val.json':
        raise KeyboardInterrupt
    write_json(path, *arguments, **options)


def test_a_changed_set_is_converted_again(tmp_path, monkeypatch):
    root = yolo(tmp_path)
    folder = convert(root).folder
    assert convert(root).note is None
    text(root / 'labels' / 'train' / 'b.txt', rows_of([('nut', 1, 1, 9, 9)]) * 2)
    assert '8 boxes' in convert(root).note and convert(root).note is None
    label = root / 'labels' / 'train' / 'b.txt'
    label.write_text(label.read_text().replace('1 ', '0 '))  # of the same size
    os.utime(label, ns=(1, 1))
    assert convert(root).note is not None
    image(root / 'images' / 'val' / 'new.png')
    assert '6 images' in convert(root).note
    monkeypatch.setattr('tinynet_mm.data.convert.write_json', stop_at_val)
    text(root / 'labels' / 'train' / 'b.txt', '')
    with pytest.raises(KeyboardInterrupt):
        convert(root)
    monkeypatch.undo()
    assert '6 boxes' in convert(root).note and convert(root).note is None, 'an interrupted conversion does not count'
    shutil.rmtree(root / 'images' / 'test')
    shutil.rmtree(root / 'labels' / 'test')
    assert '(train 3, val 2)' in convert(root).note and not (folder / 'annotations' / 'test.json').exists()


def test_the_current_folder_is_a_set(tmp_path, monkeypatch):
    monkeypatch.chdir(yolo(tmp_path))
    assert not any(report.fatal for report in check_root(Path()))
    assert convert(Path()).note is None and (tmp_path / FOLDER / 'annotations' / 'val.json').is_file()


def test_a_set_can_be_moved_with_its_files(tmp_path):
    root = voc(tmp_path / 'before')
    folder = convert(root).folder
    shutil.move(root, tmp_path / 'after')
    moved = convert(tmp_path / 'after')
    assert moved.note is None and moved.folder == tmp_path / 'after' / folder.name
    assert all((moved.folder / entry['file_name']).is_file() for entry in read(moved.folder, 'train')['images'])


def test_a_folder_that_cannot_be_written_is_converted_in_work_dirs(tmp_path, monkeypatch):
    root = cvat(tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    allowed = os.access
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path).absolute() != root and allowed(path, mode))
    done = convert(root)
    assert done.folder.parts[:2] == ('work_dirs', FOLDER) and not (root / FOLDER).exists() and convert(root).note is None
    assert not any(report.fatal for report in check_root(root))


def test_the_tool(tmp_path, capsys):
    root = voc(tmp_path / 'voc')
    assert tool('convert_dataset')([str(root), '--out', str(tmp_path / 'out')]) == 0
    assert 'Pascal VOC format: 5 images' in capsys.readouterr().out and not (root / FOLDER).exists()
    assert not any(report.fatal for report in check_root(tmp_path / 'out'))
    with pytest.raises(UserError, match='is in COCO format already'):
        tool('convert_dataset')([str(tmp_path / 'out')])
    text(tmp_path / 'taken' / 'annotations' / 'train.json', '{}')
    with pytest.raises(UserError, match='has files of another data set; choose another folder'):
        tool('convert_dataset')([str(root), '--out', str(tmp_path / 'taken')])
    before = (tmp_path / 'out' / 'annotations' / 'train.json').read_bytes()
    with pytest.raises(UserError, match='has files of another data set; choose another folder'):
        tool('convert_dataset')([str(cvat(tmp_path / 'cvat')), '--out', str(tmp_path / 'out')])
    assert (tmp_path / 'out' / 'annotations' / 'train.json').read_bytes() == before
    with pytest.raises(SystemExit):
        tool('convert_dataset')([str(root), '--val-share', '1'])


def test_names_of_images_outside_are_absolute(tmp_path):
    assert file_name(tmp_path / 'a' / 'x.jpg', tmp_path, tmp_path / FOLDER) == '../a/x.jpg'
    assert file_name(tmp_path / 'x.jpg', tmp_path / 'root', tmp_path / 'root' / FOLDER) == str(tmp_path / 'x.jpg')

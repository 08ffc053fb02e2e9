"""Sets written by hand in VOC, YOLO, LabelMe and CVAT format: their boxes after conversion, what is held out, messages."""

import hashlib
import importlib.util
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS

from tinynet_mm.data.check import check_root
from tinynet_mm.data.coco import adopt, find_layout
from tinynet_mm.data.convert import FOLDER, convert, file_name
from tinynet_mm.data.folders import named_classes
from tinynet_mm.data.holdout import held_out
from tinynet_mm.errors import UserError
from tinynet_mm.files import write_json

CLASSES = ('bolt', 'nut')  # sorted, as VOC and LabelMe do not list them
WIDTH, HEIGHT = 40, 30
TRUTH = {  # split -> image -> (class, x1, y1, x2, y2)
    'train': {
        'a': [('nut', 0, 3, 12, 15), ('bolt', 20, 10, 40, 30)],
        'b': [('bolt', 4, 4, 8, 9)],
        'empty': [],
    },
    'val': {'c': [('nut', 1, 2, 30, 28)]},
    'test': {'d': [('bolt', 5, 6, 7, 8), ('nut', 10, 10, 20, 20), ('nut', 30, 0, 40, 30)]},
}


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def xml_of(name: str, boxes: list, first: int = 1, size: bool = True) -> str:
    """A VOC file; ``first`` is the number of the first pixel."""
    objects = ''.join(
        f'<object><name>{label}</name><bndbox><xmin>{x1 + first}</xmin><ymin>{y1 + first}</ymin><xmax>{x2}</xmax>'
        f'<ymax>{y2}</ymax></bndbox></object>'
        for label, x1, y1, x2, y2 in boxes
    )
    sides = f'<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>' if size else ''
    return f'<annotation><filename>{name}.png</filename>{sides}{objects}</annotation>'


def rows_of(boxes: list, classes=CLASSES) -> str:
    centres = [
        (classes.index(n), (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT)
        for n, x1, y1, x2, y2 in boxes
    ]
    return ''.join('{} {:.6f} {:.6f} {:.6f} {:.6f}\n'.format(*row) for row in centres)


def voc(root: Path, splits=TRUTH, images: str = 'JPEGImages', lists: bool = True, **options) -> Path:
    for split, entries in splits.items():
        for name, boxes in entries.items():
            image(root / images / f'{name}.png')
            text(root / 'Annotations' / f'{name}.xml', xml_of(name, boxes, **options))
        if lists:
            text(root / 'ImageSets' / 'Main' / f'{split}.txt', '\n'.join(f'{name} 1' for name in entries) + '\n')
    return root


def voc_beside(root: Path) -> Path:
    for split, entries in TRUTH.items():
        folder = root / {'val': 'valid'}.get(split, split)
        for name, boxes in entries.items():
            image(folder / f'{name}.png')
            text(folder / f'{name}.xml', xml_of(name, boxes, size=False))
    return root


def yolo(root: Path, splits=TRUTH, roboflow: bool = False, yaml: str | None = None) -> Path:
    for split, entries in splits.items():
        spelled = {'val': 'valid'}.get(split, split)
        images = root / spelled / 'images' if roboflow else root / 'images' / split
        labels = root / spelled / 'labels' if roboflow else root / 'labels' / split
        for name, boxes in entries.items():
            image(images / f'{name}.png')
            if boxes:  # an image without boxes often has no label file
                text(labels / f'{name}.txt', rows_of(boxes))
    paths = '../train/images', '../valid/images', '../test/images'
    named = f'train: {paths[0]}\nval: {paths[1]}\ntest: {paths[2]}\nnc: 2\nnames: [bolt, nut]\n'
    text(root / 'data.yaml', yaml or (named if roboflow else 'path: /nowhere/set\ntrain: wrong\nnames:\n  1: nut\n  0: bolt\n'))
    return root


def labelme(root: Path, folders: bool = True) -> Path:
    for split, entries in TRUTH.items():
        folder = root / split if folders else root
        for name, boxes in entries.items():
            image(folder / f'{name}.png')
            shapes = [
                dict(label=label, shape_type='rectangle', points=[[x2, y2], [x1, y1]])
                if index % 2
                else dict(label=label, shape_type='polygon', points=[[x1, (y1 + y2) / 2], [x2, y1], [(x1 + x2) / 2, y2]])
                for index, (label, x1, y1, x2, y2) in enumerate(boxes)
            ]
            content = dict(version='5', shapes=shapes, imagePath=f'{name}.png', imageWidth=WIDTH, imageHeight=HEIGHT)
            text(folder / f'{name}.json', json.dumps(content))
    return root


def cvat(root: Path, extra: str = '', labels=CLASSES) -> Path:
    found = ''
    for split, entries in TRUTH.items():
        for name, boxes in entries.items():
            image(root / 'images' / f'{name}.png')
            shapes = ''.join(
                f'<box label="{label}" xtl="{x1}.00" ytl="{y1}.00" xbr="{x2}.00" ybr="{y2}.00"/>'
                for label, x1, y1, x2, y2 in boxes
            )
            subset = {'val': 'Validation'}.get(split, split)
            found += f'<image name="{name}.png" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">{shapes}{extra}</image>'
    declared = ''.join(f'<label><name>{label}</name></label>' for label in labels)
    text(root / 'annotations.xml', f'<annotations><meta><task><labels>{declared}</labels></task></meta>{found}</annotations>')
    return root


LAYOUTS = {
    'voc': voc,
    'voc, images/': lambda root: voc(root, images='images'),
    'voc, from 0': lambda root: voc(root, first=0),
    'voc, next to the images': voc_beside,
    'yolo': yolo,
    'yolo, roboflow': lambda root: yolo(root, roboflow=True),
    'labelme': labelme,
    'cvat': cvat,
}


def boxes_of(content: dict) -> dict[str, list]:
    names = {category['id']: category['name'] for category in content['categories']}
    found: dict[str, list] = {Path(entry['file_name']).stem: [] for entry in content['images']}
    stems = {entry['id']: Path(entry['file_name']).stem for entry in content['images']}
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        found[stems[annotation['image_id']]].append((names[annotation['category_id']], x, y, x + w, y + h))
    return found


def read(folder: Path, split: str) -> dict:
    return json.loads((folder / 'annotations' / f'{split}.json').read_text())


def tool(name: str):
    spec = importlib.util.spec_from_file_location(f'tools_{name}', Path('tools') / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


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
        boxes_of(read(done.folder, 'val'))['c'] == [('nut', 15, 10, 25, 20)]
        and '1 shapes of the type point left out' in done.note
    )
    extra = (
        '<polygon label="nut" points="1.0,2.0;11.0,2.0;6.0,12.0"/><ellipse label="nut" cx="10" cy="10" rx="3" ry="2"/>'
        '<box label="nut" xtl="10" ytl="10" xbr="20" ybr="12" rotation="90"/><points label="nut" points="1,1"/>'
    )
    done = convert(cvat(tmp_path / 'cvat', extra))
    found = boxes_of(read(done.folder, 'train'))['empty']
    assert np.allclose([box[1:] for box in found], [(1, 2, 11, 12), (7, 8, 13, 12), (14, 6, 16, 16)])
    assert '5 shapes of the type points left out' in done.note


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


@pytest.mark.parametrize('write', [lambda root: voc(root, many(), lists=False), lambda root: yolo(root, many())])
def test_a_set_without_val_is_divided_once(write, tmp_path):
    root = write(tmp_path)
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
    with pytest.raises(SystemExit):
        tool('convert_dataset')([str(root), '--val-share', '1'])


def test_names_of_images_outside_are_absolute(tmp_path):
    assert file_name(tmp_path / 'a' / 'x.jpg', tmp_path, tmp_path / FOLDER) == '../a/x.jpg'
    assert file_name(tmp_path / 'x.jpg', tmp_path / 'root', tmp_path / 'root' / FOLDER) == str(tmp_path / 'x.jpg')


# Faults -----------------------------------------------------------------------------------------------------------------------


def fails(root: Path, *parts: str) -> None:
    with pytest.raises(UserError) as error:
        convert(root)
    for part in parts:
        assert part in str(error.value), str(error.value)
    assert '\n' not in str(error.value) and not (root / FOLDER).exists()


@pytest.mark.parametrize(
    'row, sentence',
    [
        ('99 0.5 0.5 0.2 0.2', 'class 99, but {root}/data.yaml has 2 names, 0 to 1'),
        ('-1 0.5 0.5 0.2 0.2', 'class -1, but'),
        ('0.5 0.5 0.5 0.2 0.2', 'class 0.5, but'),
        ('1 0.5 0.5', 'has 3 numbers: a box has 5'),
        ('1 0.5 0.5 0.2 0.2 0.9', 'has 6 numbers: a box has 5'),
        ('1 0.5 nan 0.2 0.2', "'nan' is not a finite number"),
        ('1 0.5 x 0.2 0.2', "'x' is not a finite number"),
        ('1 20 15 10 10', '20 is not a fraction of the image from 0 to 1'),
        ('1 0.5 0.5 -0.2 0.2', '-0.2 is not a fraction'),
    ],
)
def test_a_wrong_row_of_yolo_is_named(row, sentence, tmp_path):
    root = yolo(tmp_path)
    text(root / 'labels' / 'val' / 'c.txt', f'1 0.5 0.5 0.2 0.2\n{row}\n')
    fails(root, f'{root}/labels/val/c.txt, line 2', sentence.format(root=root))


@pytest.mark.parametrize(
    'content, sentence',
    [
        ('train: images/train\n', 'has no class names'),
        ('names: {1: bolt, 2: nut}\n', 'has no class names'),
        ('nc: 3\nnames: [bolt, nut]\n', 'nc is 3, but there are 2 names'),
        ('names: [bolt\n', 'is not YAML'),
        ('bolt\n', 'has no keys'),
    ],
)
def test_a_wrong_data_yaml(content, sentence, tmp_path):
    fails(yolo(tmp_path, yaml=content), f'{tmp_path}/data.yaml', sentence)


def test_yolo_without_a_part(tmp_path):
    root = yolo(tmp_path / 'a')
    (root / 'data.yaml').unlink()
    fails(root, 'no class names: add data.yaml with names, or classes.txt')
    text(root / 'classes.txt', 'bolt\nnut\n')
    assert '7 boxes' in convert(root).note
    fails(yolo(tmp_path / 'b', {}, yaml='train: ../train/images\nnames: [a]\n'), "train is '../train/images', which is not there")
    root = yolo(tmp_path / 'c')
    shutil.rmtree(root / 'labels' / 'train')
    fails(root, f'{root}/labels/train/a.txt is missing')


def test_paths_of_data_yaml(tmp_path):
    """A list of images, and a val equal to train, which is replaced by images that are held out."""
    root = yolo(tmp_path, yaml='train: lists/train.txt\nval: lists/train.txt\nnames: [bolt, nut]\n')
    shutil.rmtree(root / 'images' / 'test')
    names = ['../images/train/a.png', '../images/train/b.png', '../images/train/empty.png', '../images/val/c.png']
    listing = text(root / 'lists' / 'train.txt', '\n'.join(names))
    assert 'train 3, val 1, 20%' in convert(root).note
    shutil.rmtree(root / FOLDER)
    listing.write_text('\n'.join([*names, '../images/train/z.png']))
    fails(root, f'{listing}, line 5: no image ../images/train/z.png')


def test_faults_of_voc(tmp_path):
    root = voc(tmp_path / 'a')
    (root / 'JPEGImages' / 'b.png').unlink()
    fails(root, f'{root}/Annotations/b.xml: its image b.png is missing in {root}/JPEGImages/')
    root = voc(tmp_path / 'b')
    text(root / 'Annotations' / 'b.xml', '<annotation><object>')
    fails(root, f'{root}/Annotations/b.xml is not XML')
    root = voc(tmp_path / 'c')
    text(root / 'ImageSets' / 'Main' / 'val.txt', 'c\nz\n')
    fails(root, f'{root}/ImageSets/Main/val.txt, line 2: there is neither an image z nor')
    root = voc(tmp_path / 'd')
    text(root / 'Annotations' / 'c.xml', xml_of('c', [('Nut', 1, 2, 3, 4)]))
    fails(root, f"{root}/Annotations/c.xml: the class 'Nut' is in val, but not in train, which has bolt, nut")
    root = voc(tmp_path / 'e')
    text(root / 'Annotations' / 'c.xml', xml_of('c', [('nut', 9, 2, 3, 4)]))
    fails(root, 'c.xml, object 1 (nut): the box ends at (3, 4), before its start (10, 3)')
    root = voc(tmp_path / 'f')
    text(root / 'ImageSets' / 'Main' / 'val.txt', 'c\na\n')
    fails(root, 'a.png is in train and in val')
    text(root / 'ImageSets' / 'Main' / 'val.txt', 'c\nc\n')
    fails(root, 'c.png is twice in val')
    root = voc(tmp_path / 'g')
    text(root / 'Annotations' / 'c.xml', xml_of('c', [('nut', 1, 2, 'inf', 4)]))
    fails(root, "c.xml, object 1 (nut): 'inf' is not a finite number")


def test_faults_of_labelme_and_cvat(tmp_path):
    root = labelme(tmp_path / 'a')
    text(root / 'val' / 'c.json', '{"shapes": [')
    fails(root, f'{root}/val/c.json is not JSON')
    root = labelme(tmp_path / 'b')
    text(root / 'val' / 'c.json', json.dumps(dict(shapes=[dict(label='nut', points=[[1, 2]])], imagePath='c.png')))
    fails(root, 'c.json, shape 1 (nut) has no list of two or more points')
    root = labelme(tmp_path / 'c')
    (root / 'val' / 'c.png').unlink()
    fails(root, f'{root}/val/c.json: its image c.png is missing in {root}/val/')
    root = cvat(tmp_path / 'd')
    (root / 'images' / 'c.png').unlink()
    fails(root, f'{root}/annotations.xml: its image c.png is missing in {root}/images/')
    fails(cvat(tmp_path / 'e', labels=('nut',)), "a.png has the label 'bolt', which is not one of the labels of the task, nut")
    root = cvat(tmp_path / 'f')
    text(root / 'annotations.xml', '<annotations><track/></annotations>')
    fails(root, 'is not an export in the format "CVAT for images 1.1"')
    text(root / 'annotations.xml', '<annotations>')
    fails(root, 'annotations.xml is not XML')


def test_an_unknown_format_names_the_known_ones(tmp_path):
    image(tmp_path / 'photo.png')
    text(tmp_path / 'labels.csv', 'photo.png,1,2,3,4')
    fails(tmp_path, 'no annotations in a known format', 'COCO: ', 'Pascal VOC: ', 'YOLO: ', 'LabelMe: ', 'CVAT: ')


# Hostile sets -----------------------------------------------------------------------------------------------------------------


def voc_named(root: Path, name: str) -> Path:
    path = text(voc(root, lists=False) / 'Annotations' / 'z.xml', xml_of('z', TRUTH['train']['b']))
    path.write_text(path.read_text().replace('z.png', name))
    return root


def voc_listed(root: Path, name: str) -> Path:
    text(Path(root, 'Annotations', name).with_suffix('.xml'), xml_of('z', TRUTH['train']['b']))
    text(voc(root) / 'ImageSets' / 'Main' / 'train.txt', f'a\n{name}\n')
    return root


def labelme_named(root: Path, name: str) -> Path:
    text(labelme(root) / 'val' / 'z.json', json.dumps(dict(shapes=[], imagePath=name)))
    return root


def cvat_named(root: Path, name: str) -> Path:
    path = cvat(root) / 'annotations.xml'
    path.write_text(path.read_text().replace('"c.png"', f'"{name}"'))
    return root


def yolo_named(root: Path, name: str, yaml: str = 'train: lists/train.txt\nnames: [bolt, nut]\n') -> Path:
    text(yolo(root, yaml=yaml) / 'lists' / 'train.txt', f'../images/train/a.png\n{name}\n')
    return root


@pytest.mark.parametrize('name', ['../../outside/z.png', '{}/outside/z.png'])
@pytest.mark.parametrize('write', [voc_named, voc_listed, labelme_named, cvat_named, yolo_named])
def test_an_image_outside_of_the_set_is_refused(write, name, tmp_path):
    """Annotations that were downloaded cannot name other files of the machine."""
    image(tmp_path / 'outside' / 'z.png')
    name = name.format(tmp_path)
    sentence = 'there is neither an image' if write is voc_listed else f'{name} is outside of {tmp_path}/set; copy it there'
    root = write(tmp_path / 'set', name)
    if write is voc_listed:
        (tmp_path / 'outside' / 'z.png').rename(tmp_path / 'outside' / 'y.png')  # the XML file is outside, the image is missing
        fails(root, sentence)
        (tmp_path / 'outside' / 'y.png').rename(tmp_path / 'outside' / 'z.png')
    fails(root, sentence)


def test_an_absolute_name_inside_and_links_in_the_set_are_read(tmp_path):
    """Also if the set has two names."""
    image(tmp_path / 'elsewhere' / 'z.png')
    root = voc_named(tmp_path / 'set', f'{tmp_path}/other/JPEGImages/deep/x.png')
    image(root / 'JPEGImages' / 'deep' / 'x.png')
    (root / 'JPEGImages' / 'link.png').symlink_to(tmp_path / 'elsewhere' / 'z.png')
    text(root / 'Annotations' / 'link.xml', xml_of('link', TRUTH['train']['b']))
    (tmp_path / 'other').symlink_to(root)
    assert '7 images' in convert(root).note and not any(report.fatal for report in check_root(root))


def test_a_path_of_data_yaml_outside_of_the_set(tmp_path):
    """The folder of the set is used if it has images; otherwise the sentence says what to do."""
    other = yolo(tmp_path / 'other')
    yaml = f'path: {other}\ntrain: images/train\nval: images/val\nnames: [bolt, nut]\n'
    assert '(train 3, val 1, test 1)' in convert(yolo(tmp_path / 'set', yaml=yaml)).note
    assert 'other' not in json.dumps(read(tmp_path / 'set' / FOLDER, 'train'))
    root = yolo(tmp_path / 'empty', {}, yaml=yaml)
    fails(root, f'train in its YAML file is {other}/images/train', f'copy the YAML file to {other} and pass that folder')
    shutil.copy(root / 'data.yaml', other)
    assert '(train 3, val 1, test 1)' in convert(other).note


def forge(folder: Path, picture: Path, **changes) -> None:
    """Write COCO files that name a picture, and a marker that says that we have converted them."""
    content = dict(images=[dict(id=1, file_name=str(picture), width=WIDTH, height=HEIGHT)], categories=[dict(id=1, name='x')])
    content['annotations'] = [dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 9, 9], area=81, iscrowd=0)]
    for split in ('train', 'val'):
        write_json(folder / 'annotations' / f'{split}.json', content)
    marker = dict(version=1, val_share=0.2, root='..', folders=[], divided=False, digest=hashlib.sha256(b'').hexdigest())
    write_json(folder / 'source.json', marker | changes)


@pytest.mark.parametrize('root', ['/any/folder', '..', '../../../../..'])
def test_a_marker_that_we_have_not_written_does_not_count(root, tmp_path):
    image(tmp_path / 'outside' / 'z.png')
    (tmp_path / 'set' / 'images').mkdir(parents=True)
    forge(tmp_path / 'set', tmp_path / 'outside' / 'z.png', root=root)
    with pytest.raises(UserError, match=r"annotations/train.json: the image '.*z.png' is outside of .*set; copy it there"):
        find_layout(tmp_path / 'set')
    forge(voc(tmp_path / 'voc') / FOLDER, tmp_path / 'outside' / 'z.png', root=root)
    assert '5 images' in convert(tmp_path / 'voc').note, 'converted again'


def test_the_images_of_a_conversion_are_checked_at_each_start(tmp_path):
    """Also with the marker that we have written, which somebody can copy with the files."""
    image(tmp_path / 'outside' / 'z.png')
    root = voc(tmp_path / 'voc')
    marker = json.loads((convert(root).folder / 'source.json').read_text())
    forge(root / FOLDER, tmp_path / 'outside' / 'z.png', **marker)
    for folder in (root, root / FOLDER):
        with pytest.raises(UserError, match=f"'.*z.png' is outside of .*; delete the folder {FOLDER}, so that"):
            find_layout(folder)
    shutil.rmtree(root / FOLDER)
    assert '5 images' in convert(root).note


@pytest.mark.parametrize('make', [os.mkfifo, Path.mkdir], ids=['pipe', 'folder'])
def test_pipes_and_folders_with_names_of_annotations(make, tmp_path):
    for name in ('a', 'z'):
        make(voc(tmp_path / name) / 'Annotations' / f'{name}.part.xml')
        shutil.rmtree(tmp_path / name / 'ImageSets')
        fails(tmp_path / name, f'{name}.part.xml is not a file, but a folder, a pipe or a link to nothing; remove it')
        make(labelme(tmp_path / f'labelme_{name}') / 'val' / f'{name}.part.json')
        fails(tmp_path / f'labelme_{name}', f'{name}.part.json is not a file')
    for name, write in (('x.yaml', voc), ('data.yaml', voc), ('y.yml', cvat), ('classes.txt', cvat)):
        make(write(tmp_path / name) / name)
        assert '5 images' in convert(tmp_path / name).note, 'other files of the folder are skipped'


def test_aliases_of_a_data_yaml_that_expand_are_refused(tmp_path):
    """Nine levels have 3.5 billion entries; without an images folder, they were written into the sentence."""
    bomb = 'a0: &a0 [x,x,x,x,x,x,x,x,x]\n' + ''.join(f'a{n + 1}: &a{n + 1} [{",".join([f"*a{n}"] * 9)}]\n' for n in range(9))
    for number, extra in enumerate(('train: *a9\n', 'nc: *a9\n', 'names: &n [x, *n]\n')):
        root = yolo(tmp_path / str(number), {}, yaml=f'{bomb}names: [bolt]\n{extra}')
        fails(root, 'data.yaml is not YAML (an alias of a list or dict: write it out')
    fails(yolo(tmp_path / 'dict', {}, yaml='names: [x]\ntrain: {a: b}\n'), 'train is no path, which is not there')
    assert '5 images' in convert(yolo(tmp_path / 'text', yaml='path: &here .\nextra: *here\nnames: [bolt, nut]\n')).note


@pytest.mark.parametrize('name, sentence', [('{{$A:1}}', 'which MMEngine evaluates'), ('x' * 100_000, 'over 200 characters')])
def test_the_name_of_a_class_is_checked_before_files_are_written(name, sentence, tmp_path):
    boxes = dict(train=dict(a=[('bolt', 1, 1, 9, 9)], b=[(name, 1, 1, 9, 9)]))
    fails(voc(tmp_path / 'voc', boxes), f'{tmp_path}/voc/Annotations/b.xml: the name ', sentence)
    root = labelme(tmp_path / 'labelme')
    path = root / 'train' / 'b.json'
    path.write_text(path.read_text().replace('bolt', name))
    fails(root, f'{path}: the name ', sentence)
    fails(cvat(tmp_path / 'cvat', labels=(*CLASSES, name)), f'{tmp_path}/cvat/annotations.xml: the name ', sentence)
    fails(yolo(tmp_path / 'yolo', yaml=f'names: [bolt, "{name}"]\n'), f'{tmp_path}/yolo/data.yaml: the name ', sentence)
    (yolo(tmp_path / 'names') / 'data.yaml').unlink()
    text(tmp_path / 'names' / 'classes.txt', f'bolt\n{name}\n')
    fails(tmp_path / 'names', f'{tmp_path}/names/classes.txt: the name ', sentence)

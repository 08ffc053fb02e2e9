"""Faults in sets of other formats than COCO are named, and hostile sets are refused."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from annotation_sets import (
    CLASSES,
    HEIGHT,
    TRUTH,
    WIDTH,
    cvat,
    image,
    labelme,
    read,
    text,
    voc,
    xml_of,
    yolo,
)

from tinynet_mm.data.check import check_root
from tinynet_mm.data.coco import find_layout
from tinynet_mm.data.convert import FOLDER, convert
from tinynet_mm.errors import UserError
from tinynet_mm.files import write_json

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
    assert 'train 3, val 1, 25%' in convert(root).note
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
    for split in ('train', 'val'):
        cvat(tmp_path / 'g' / split)
    labels = tmp_path / 'g' / 'val' / 'annotations.xml'
    text(labels, labels.read_text().replace('bolt', 'Bolt'))
    fails(tmp_path / 'g', f"{labels} has the label 'Bolt', which is not in {tmp_path}/g/train/annotations.xml; export both tasks")
    root = cvat(tmp_path / 'f')
    text(root / 'annotations.xml', '<annotations><track/></annotations>')
    fails(root, 'is not an export in the format "CVAT for images 1.1"')
    text(root / 'annotations.xml', '<annotations>')
    fails(root, 'annotations.xml is not XML')


@pytest.mark.parametrize('write', [voc, labelme, cvat, yolo])
def test_no_images_in_train(write, tmp_path):
    root = write(tmp_path / 'data')
    if write is cvat:
        path = root / 'annotations.xml'
        text(path, path.read_text().replace('subset="train"', 'subset="val"'))
    elif write is voc:
        lists = root / 'ImageSets' / 'Main'
        text(lists / 'val.txt', (lists / 'train.txt').read_text() + (lists / 'val.txt').read_text())
        text(lists / 'train.txt', '')
    else:
        for path in [path for path in root.rglob('*') if path.is_file() and 'train' in path.parts]:
            path.unlink()
    fails(root, 'train has no images, only val')


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

"""A sound set with one thing broken at a time: exactly that must be found, with its count."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from torchvision.ops import box_iou

from tinynet_mm.data.check import KINDS, anchors_of, check_config, check_split
from tinynet_mm.mmlab import editing


@pytest.fixture
def sound(tmp_path) -> Path:
    """Three pictures of 60x40 with two boxes each, of two categories."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(3):
        cv2.imwrite(str(tmp_path / 'images' / f'{i}.jpg'), rng.integers(0, 256, (40, 60, 3), np.uint8))
        images.append({'id': i, 'file_name': f'{i}.jpg', 'width': 60, 'height': 40})
        for j, box in enumerate(([5, 5, 20, 20], [30, 10, 30, 30])):
            annotations.append({'id': 2 * i + j, 'image_id': i, 'category_id': j, 'bbox': box, 'area': 400, 'iscrowd': 0})
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 0, 'name': 'nut'}, {'id': 1, 'name': 'bolt'}]}
    (tmp_path / 'annotations' / 'train.json').write_text(json.dumps(content))
    return tmp_path


def edit(root: Path, change) -> None:
    """Let ``change`` alter the annotation file's content in place."""
    path = root / 'annotations' / 'train.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def check(root: Path, anchors=None):
    return check_split(root / 'annotations' / 'train.json', root / 'images', anchors)


def found(root: Path) -> dict[str, int]:
    return {finding.kind: finding.count for finding in check(root).findings}


def test_a_sound_set_has_no_findings(sound):
    report = check(sound)
    assert (report.images, report.boxes, report.classes, report.findings) == (3, 6, 2, ())
    report.stop_if_fatal()
    assert 'nothing found' in str(report)


IMAGE_IDS = (('images', 'id'), ('annotations', 'image_id'))


def annotation(index=0, **fields):
    return lambda content: content['annotations'][index].update(fields)


def image(index=0, **fields):
    return lambda content: content['images'][index].update(fields)


def drop(part, index, field):
    return lambda content: content[part][index].pop(field)


@pytest.mark.parametrize(
    'change, expected',
    [
        (
            lambda c: c.update(images=[], annotations=[]),
            {'no images in the file': 1, 'no usable boxes': 1, 'categories without boxes': 2},
        ),
        (lambda c: c.update(annotations=[]), {'no usable boxes': 1, 'categories without boxes': 2, 'images without boxes': 3}),
        (image(file_name=None), {'images with a missing field': 1}),
        (drop('images', 1, 'width'), {'images with a missing field': 1}),
        (drop('annotations', 1, 'area'), {'annotations with a missing field': 1}),
        (drop('annotations', 1, 'iscrowd'), {'annotations with a missing field': 1}),
        (annotation(bbox=[1, 2, 3]), {'annotations with a missing field': 1}),
        (annotation(bbox=[1, 2, 3, float('nan')]), {'annotations with a missing field': 1}),
        (image(1, id=0), {'duplicate image ids': 1}),
        (annotation(1, id=0), {'duplicate annotation ids': 1}),
        (lambda c: c['categories'][1].update(id=0), {'duplicate category ids': 1}),
        (annotation(category_id=5), {'annotations of an undefined category': 1}),
        (image(file_name='gone.jpg'), {'missing images': 1}),
        (annotation(image_id=77), {'annotations of an undefined image': 1}),
        (lambda c: [entry.update({key: str(entry[key])}) for part, key in IMAGE_IDS for entry in c[part]], {}),  # texts will do
        (image(2, width=61), {'images of another size than in the file': 1}),
        (annotation(bbox=[60, 5, 20, 20]), {'boxes completely outside the image': 1}),
        (annotation(bbox=[50, 5, 20, 20]), {'boxes partly outside the image': 1}),
        (annotation(bbox=[-1, 5, 20, 20]), {}),  # a pixel is rounding
        (annotation(bbox=[5, 5, 0, 20]), {'boxes without area': 1}),
        (annotation(area=0), {'boxes without area': 1}),
        (lambda c: c['categories'].append({'id': 2, 'name': 'gear'}), {'categories without boxes': 1}),
        (lambda c: c.update(annotations=c['annotations'][:4]), {'images without boxes': 1}),
        (lambda c: [a.update(iscrowd=1) for a in c['annotations'][:2]], {'images with only crowd annotations': 1}),
        (
            lambda c: [a.update(iscrowd=1) for a in c['annotations']],
            {'no usable boxes': 1, 'categories without boxes': 2, 'images with only crowd annotations': 3},
        ),
    ],
)
def test_each_break_is_found_alone(change, expected, sound):
    edit(sound, change)
    assert found(sound) == expected
    report = check(sound)
    if fatal := [kind for kind in expected if KINDS[kind][0]]:
        with pytest.raises(ValueError, match='cannot be used: 1 ') as error:
            report.stop_if_fatal()
        assert all(kind in str(error.value) for kind in fatal) and '\n' not in str(error.value)
        assert 'FATAL' in str(report)
    else:
        report.stop_if_fatal()


def test_pictures_that_do_not_decode(sound):
    """OpenCV reads the cut one without an error, which is why Pillow decodes."""
    whole = (sound / 'images' / '0.jpg').read_bytes()
    (sound / 'images' / '0.jpg').write_bytes(whole[: len(whole) * 2 // 3])
    (sound / 'images' / '1.jpg').write_text('a letter')
    (sound / 'images' / '2.jpg').write_bytes(b'')
    assert cv2.imread(str(sound / 'images' / '0.jpg')) is not None
    assert found(sound) == {'unreadable images': 3}
    assert 'truncated' in str(check(sound))


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'webp', 'tif'])
def test_other_formats_whole_and_cut(suffix, sound):
    path = sound / 'images' / f'0.{suffix}'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    edit(sound, image(file_name=path.name))
    assert found(sound) == {}
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert found(sound) == {'unreadable images': 1}


def test_sizes_are_those_that_opencv_reads(sound):
    """A camera's orientation tag turns the picture when it is read."""
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new('RGB', (40, 60)).save(sound / 'images' / '0.jpg', exif=tag)
    assert cv2.imread(str(sound / 'images' / '0.jpg')).shape == (40, 60, 3)
    assert found(sound) == {}


def test_examples_name_the_place(sound):
    edit(sound, annotation(3, bbox=[50, 5, 20, 20]))
    assert 'annotation 3, [50, 5, 20, 20] in 1.jpg (60x40)' in check(sound).findings[0].example


def test_files_that_are_none(sound):
    path = sound / 'annotations' / 'train.json'
    path.write_text('[]')
    with pytest.raises(ValueError, match='not in COCO format'):
        check(sound)
    path.write_text('')
    with pytest.raises(ValueError, match='not JSON'):
        check(sound)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='no such annotation file'):
        check(sound)


def test_unmatched_boxes_against_torchvision(sound):
    """The share below IoU 0.5, computed again with torchvision on 64x64 pixels."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 64, (40, 2, 2))
    anchors = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes = np.concatenate([rng.uniform(0, 30, (200, 2)), rng.uniform(3, 30, (200, 2))], 1)
    boxes[:, 3] = np.minimum(boxes[:, 3], 39 - boxes[:, 1])

    def fill(content):
        record = content['annotations'][0]
        content['annotations'] = [dict(record, id=i, image_id=i % 3, bbox=box) for i, box in enumerate(boxes.tolist())]

    edit(sound, fill)
    scale = torch.tensor([64 / 60, 64 / 40] * 2)
    placed = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)) * scale
    expected = (box_iou(placed, torch.from_numpy(anchors)).max(1).values < 0.5).sum().item()
    counts = {finding.kind: finding.count for finding in check(sound, anchors / 64).findings}
    assert 0 < expected < 200 and counts['boxes that match no anchor'] == expected


@pytest.mark.parametrize('size', [320, 512])
def test_anchors_are_the_heads(size):
    """Six a cell, tiling the picture: the means of the centres are its middle, and the first level's is the finest."""
    cfg = Config.fromfile('configs/ssdlite_tinynet_e_coco.py')
    editing.set_input_size(cfg, size)
    anchors = anchors_of(cfg)
    assert len(anchors) == 6 * sum(side**2 for side in (-(-size // stride) for stride in (16, 32, 64, 128, 256, 512)))
    assert np.abs((anchors[:, :2] + anchors[:, 2:]) / 2 - 0.5).mean(0) == pytest.approx([0.25, 0.25], abs=0.01)
    assert anchors_of(Config(dict(model=dict(bbox_head=dict(type='FCOSHead'))))) is None


def test_a_config_is_checked_file_by_file(sound):
    data = dict(data_root=str(sound), ann_file='annotations/train.json', data_prefix=dict(img='images/'))
    loader = dict(dataset=data)
    cfg = Config(dict(model=dict(), train_dataloader=loader, val_dataloader=loader, test_dataloader=None))
    assert [(report.ann_file.name, report.images) for report in check_config(cfg)] == [('train.json', 3)]


def test_tool(sound, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location('tools_check_dataset', Path('tools') / 'check_dataset.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pair = [str(sound / 'annotations' / 'train.json'), str(sound / 'images')]
    assert module.main(pair) == 0 and 'can be used' in capsys.readouterr().out
    assert module.main(['--data-root', str(sound)]) == 0
    (sound / 'annotations' / 'val.json').write_bytes((sound / 'annotations' / 'train.json').read_bytes())
    assert module.main(['configs/ssdlite_tinynet_e_coco.py', '--data-root', str(sound), '--input-size', '64']) == 0
    (sound / 'images' / '1.jpg').unlink()
    assert module.main(pair) == 1 and 'missing images' in capsys.readouterr().out
    for wrong in ([], [*pair, 'third'], [*pair, '--data-root', 'x'], [*pair, '--input-size', '64']):
        with pytest.raises(SystemExit) as stop:
            module.main(wrong)
        assert stop.value.code == 2

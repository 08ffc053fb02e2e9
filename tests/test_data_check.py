"""A valid data set with one error at a time: the check finds exactly this error, with its count."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from annotation_sets import voc
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import box_iou

from tinynet_mm.cli import check_data
from tinynet_mm.data.check import KINDS, Report, check_config, check_root, check_split
from tinynet_mm.data.priors import NO_POINT, Priors, priors_of
from tinynet_mm.errors import UserError
from tinynet_mm.mmlab import editing


@pytest.fixture
def valid(tmp_path) -> Path:
    """Three pictures of 60x40 with two boxes each, of two categories."""
    (tmp_path / 'images').mkdir()
    (tmp_path / 'annotations').mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(3):
        cv2.imwrite(str(tmp_path / 'images' / f'{i}.jpg'), rng.integers(0, 256, (40, 60, 3), np.uint8))
        images.append({'id': i, 'file_name': f'{i}.jpg', 'width': 60, 'height': 40})
        for j, box in enumerate(([5, 5, 20, 20], [30, 10, 30, 30])):
            annotations.append({'id': 2 * i + j + 1, 'image_id': i, 'category_id': j, 'bbox': box, 'area': 400, 'iscrowd': 0})
    content = {'images': images, 'annotations': annotations, 'categories': [{'id': 0, 'name': 'nut'}, {'id': 1, 'name': 'bolt'}]}
    (tmp_path / 'annotations' / 'train.json').write_text(json.dumps(content))
    return tmp_path


def edit(root: Path, change) -> None:
    """Let ``change`` alter the annotation file's content in place."""
    path = root / 'annotations' / 'train.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def check(root: Path, priors=None):
    return check_split(root / 'annotations' / 'train.json', root / 'images', priors)


def found(root: Path) -> dict[str, int]:
    return {finding.kind: finding.count for finding in check(root).findings}


@pytest.mark.parametrize('first, recall', [(0, 0.5), (1, 1.0)])
def test_pycocotools_counts_a_box_with_the_id_0_as_missed(tmp_path, first, recall):
    content = dict(images=[dict(id=1, width=99, height=99)], categories=[dict(id=1, name='a')])
    boxes = [[0.0, 0.0, 20.0, 20.0], [50.0, 50.0, 20.0, 20.0]]
    content['annotations'] = [
        dict(id=first + i, image_id=1, category_id=1, bbox=box, area=400, iscrowd=0) for i, box in enumerate(boxes)
    ]
    (tmp_path / 'a.json').write_text(json.dumps(content))
    truth = COCO(tmp_path / 'a.json')
    found = truth.loadRes([dict(image_id=1, category_id=1, bbox=box, score=0.9) for box in boxes])
    evaluation = COCOeval(truth, found, 'bbox')
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    assert evaluation.stats[8] == recall


def test_a_valid_set_has_no_findings(valid):
    report = check(valid)
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
        (annotation(1, id=1), {'duplicate annotation ids': 1}),
        (annotation(id=0), {'annotations with the id 0': 1}),
        (lambda c: c['categories'][1].update(id=0), {'duplicate category ids': 1}),
        (annotation(category_id=5), {'annotations of an undefined category': 1}),
        (image(file_name='gone.jpg'), {'missing images': 1}),
        (annotation(image_id=77), {'annotations of an undefined image': 1}),
        (
            lambda c: [entry.update({key: str(entry[key])}) for part, key in IMAGE_IDS for entry in c[part]],
            {},
        ),  # text ids are valid
        (image(2, width=61), {'images of another size than in the file': 1}),
        (annotation(bbox=[60, 5, 20, 20]), {'boxes completely outside the image': 1}),
        (annotation(bbox=[50, 5, 20, 20]), {'boxes partly outside the image': 1}),
        (annotation(bbox=[-1, 5, 20, 20]), {}),  # one pixel is a rounding error
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
def test_each_error_is_found_alone(change, expected, valid):
    edit(valid, change)
    assert found(valid) == expected
    report = check(valid)
    if fatal := [kind for kind in expected if KINDS[kind][0]]:
        with pytest.raises(ValueError, match='cannot be used: 1 ') as error:
            report.stop_if_fatal()
        assert all(kind in str(error.value) for kind in fatal) and '\n' not in str(error.value)
        assert 'FATAL' in str(report)
    else:
        report.stop_if_fatal()


def test_a_fatal_finding_is_said_once(valid, monkeypatch, capsys):
    edit(valid, lambda c: [a.update(iscrowd=1) for a in c['annotations']])
    monkeypatch.setattr('tinynet_mm.data.check.check_config', lambda *arguments: [check(valid)])
    with pytest.raises(UserError, match='1 no usable boxes'):
        check_data(Config(), ['train'])
    assert not capsys.readouterr().out


def test_paths_of_a_converted_set_are_those_of_its_images(tmp_path):
    root = voc(tmp_path)
    broken = next((root / 'JPEGImages').glob('*.png'))
    broken.write_bytes(broken.read_bytes()[:60])
    examples = [finding.example for report in check_root(root) for finding in report.findings if finding.fatal]
    assert len(examples) == 1 and str(broken) in examples[0]


def test_counts_of_one_have_the_singular():
    assert str(Report(Path('a.json'), 1, 1, 1, ())).startswith('a.json: 1 image, 1 box, 1 category\n')
    assert str(Report(Path('a.json'), 2, 0, 3, ())).startswith('a.json: 2 images, 0 boxes, 3 categories\n')


def test_images_that_do_not_decode(valid):
    """OpenCV reads the truncated file without an error, so Pillow decodes it first."""
    complete = (valid / 'images' / '0.jpg').read_bytes()
    (valid / 'images' / '0.jpg').write_bytes(complete[: len(complete) * 2 // 3])
    (valid / 'images' / '1.jpg').write_text('some text')
    (valid / 'images' / '2.jpg').write_bytes(b'')
    assert cv2.imread(str(valid / 'images' / '0.jpg')) is not None
    assert found(valid) == {'unreadable images': 3}
    assert 'truncated' in str(check(valid))


@pytest.mark.parametrize('suffix', ['png', 'bmp', 'webp', 'tif'])
def test_other_formats_complete_and_truncated(suffix, valid):
    path = valid / 'images' / f'0.{suffix}'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    edit(valid, image(file_name=path.name))
    assert found(valid) == {}
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert found(valid) == {'unreadable images': 1}


def test_sizes_are_those_that_opencv_reads(valid):
    """The EXIF orientation rotates the image when it is read."""
    tag = Image.Exif()
    tag[0x0112] = 6
    Image.new('RGB', (40, 60)).save(valid / 'images' / '0.jpg', exif=tag)
    assert cv2.imread(str(valid / 'images' / '0.jpg')).shape == (40, 60, 3)
    assert found(valid) == {}


def test_examples_name_annotation_and_image(valid):
    edit(valid, annotation(3, bbox=[50, 5, 20, 20]))
    assert 'annotation 4, [50, 5, 20, 20] in 1.jpg (60x40)' in check(valid).findings[0].example


def test_files_that_are_not_annotations(valid):
    path = valid / 'annotations' / 'train.json'
    path.write_text('[]')
    with pytest.raises(ValueError, match='not in COCO format'):
        check(valid)
    path.write_text('')
    with pytest.raises(ValueError, match='not JSON'):
        check(valid)
    path.unlink()
    with pytest.raises(FileNotFoundError, match='no such annotation file'):
        check(valid)


def test_unmatched_boxes_are_those_of_torchvisions_iou(valid):
    """The number of boxes below IoU 0.5, computed with torchvision on 64x64 pixels."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 64, (40, 2, 2))
    anchors = np.concatenate([corners.min(1), corners.max(1)], 1)
    boxes = np.concatenate([rng.uniform(0, 30, (200, 2)), rng.uniform(3, 30, (200, 2))], 1)
    boxes[:, 3] = np.minimum(boxes[:, 3], 39 - boxes[:, 1])

    def fill(content):
        record = content['annotations'][0]
        content['annotations'] = [dict(record, id=i, image_id=i % 3, bbox=box) for i, box in enumerate(boxes.tolist())]

    edit(valid, fill)
    scale = torch.tensor([64 / 60, 64 / 40] * 2)
    placed = torch.from_numpy(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)) * scale
    expected = (box_iou(placed, torch.from_numpy(anchors)).max(1).values < 0.5).sum().item()
    counts = {finding.kind: finding.count for finding in check(valid, Priors(anchors / 64)).findings}
    assert 0 < expected < 200 and counts['boxes that match no anchor'] == expected


@pytest.mark.parametrize('size', [320, 512])
def test_anchors_are_those_of_the_head(size):
    """Six anchors per cell cover the image: the mean distance of their centres from the middle is a quarter of the side."""
    cfg = Config.fromfile('configs/ssdlite_tinynet_e_coco.py')
    editing.set_input_size(cfg, size)
    anchors = priors_of(cfg).places
    assert len(anchors) == 6 * sum(side**2 for side in (-(-size // stride) for stride in (16, 32, 64, 128, 256, 512)))
    assert np.abs((anchors[:, :2] + anchors[:, 2:]) / 2 - 0.5).mean(0) == pytest.approx([0.25, 0.25], abs=0.01)
    assert priors_of(Config(dict(model=dict(bbox_head=dict(type='FCOSHead'))))) is None


def test_boxes_without_a_point_of_the_head_are_counted(valid):
    """The points of the finest level are multiples of 8 pixels; a point on the edge of a box is not inside."""
    cfg = Config.fromfile('configs/rtmdet_tinynet_e_coco.py')
    editing.set_input_size(cfg, 64)
    priors = priors_of(cfg)
    assert sorted(map(tuple, (priors.places * 64).round(3))) == [(x, y) for x in range(0, 64, 8) for y in range(0, 64, 8)]
    boxes = np.array([[1, 1, 7, 30], [1, 1, 9, 9], [8, 8, 16, 16], [8, 8, 17, 17], [57, 57, 64, 64], [-1, -1, 1, 1]]) / 64
    assert priors.missed(boxes).tolist() == [True, False, True, False, True, False]
    path = valid / 'annotations' / 'train.json'
    content = json.loads(path.read_text())
    image = content['images'][0]
    step = 8 * image['width'] / 64, 8 * image['height'] / 64
    small = dict(content['annotations'][0], image_id=image['id'], bbox=[step[0] + 1e-3, step[1] + 1e-3, step[0] / 2, step[1] / 2])
    content['annotations'] = [small, dict(small, id=99, bbox=[0, 0, image['width'], image['height']])]
    path.write_text(json.dumps(content))
    (found,) = [finding for finding in check(valid, priors).findings if finding.kind == NO_POINT]
    assert found.count == 1 and '50.0% of 2 boxes' in found.example


def test_a_config_is_checked_file_by_file(valid):
    data = dict(data_root=str(valid), ann_file='annotations/train.json', data_prefix=dict(img='images/'))
    loader = dict(dataset=data)
    cfg = Config(dict(model=dict(), train_dataloader=loader, val_dataloader=loader, test_dataloader=None))
    assert [(report.ann_file.name, report.images) for report in check_config(cfg)] == [('train.json', 3)]


def test_tool(valid, capsys):
    import importlib.util

    spec = importlib.util.spec_from_file_location('tools_check_dataset', Path('tools') / 'check_dataset.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pair = [str(valid / 'annotations' / 'train.json'), str(valid / 'images')]
    assert module.main(pair) == 0 and 'can be used' in capsys.readouterr().out
    assert module.main(['--data-root', str(valid)]) == 0
    (valid / 'annotations' / 'val.json').write_bytes((valid / 'annotations' / 'train.json').read_bytes())
    assert module.main(['configs/ssdlite_tinynet_e_coco.py', '--data-root', str(valid), '--input-size', '64']) == 0
    (valid / 'images' / '1.jpg').unlink()
    assert module.main(pair) == 1 and 'missing images' in capsys.readouterr().out
    for wrong in ([], [*pair, 'third'], [*pair, '--data-root', 'x'], [*pair, '--input-size', '64']):
        with pytest.raises(SystemExit) as stop:
            module.main(wrong)
        assert stop.value.code == 2

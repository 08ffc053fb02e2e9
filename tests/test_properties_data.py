"""Properties that hold for any data set and table, compared with naive references."""

import json
import tempfile
from collections import Counter
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinynet_mm.registry  # noqa: F401 (registers mmdet's data sets)
from tinynet_mm.data.check import check_root, check_split
from tinynet_mm.data.coco import find_layout
from tinynet_mm.data.convert import FOLDER, convert
from tinynet_mm.data.holdout import held_out
from tinynet_mm.files import read_csv, write_csv

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# The data check ---------------------------------------------------------------------------------------------------------------


@st.composite
def contents(draw) -> dict:
    """The content of a file in COCO format, with and without faults."""
    ids, area, coordinate = st.integers(1, 5), st.integers(0, 2), st.integers(-12, 30) | st.floats(-12, 30)
    images = [dict(id=draw(ids), file_name=f'{n}.png', width=20, height=16) for n in range(draw(st.integers(0, 4)))]
    boxes = [
        dict(id=n if draw(st.integers(0, 9)) else 1, image_id=draw(ids), category_id=draw(st.integers(1, 3)), area=draw(area),
             bbox=[draw(coordinate), draw(coordinate), draw(coordinate), draw(coordinate)], iscrowd=draw(st.integers(0, 1)))
        for n in range(draw(st.integers(0, 6)))
    ]  # fmt: skip
    return dict(images=images, annotations=boxes, categories=[dict(id=1, name='a'), dict(id=2, name='b')])


def naive_counts(content: dict, lost: set[str]) -> dict[str, int]:
    """What the check must count, by the definitions in its documentation."""
    images, boxes, found = content['images'], content['annotations'], Counter()
    for key, kind in (('images', 'image'), ('annotations', 'annotation')):
        ids = [entry['id'] for entry in content[key]]
        found[f'duplicate {kind} ids'] = len({number for number in ids if ids.count(number) > 1})
    if any(found.values()):
        return +found
    sizes, usable = {image['id']: (20, 16) for image in images}, []
    for box in boxes:
        x, y, w, h = box['bbox']
        found['annotations with the id 0'] += box['id'] == 0
        if box['image_id'] not in sizes:
            found['annotations of an undefined image'] += 1
            continue
        found['annotations of an undefined category'] += box['category_id'] == 3
        area, inside = w >= 1 and h >= 1 and box['area'] > 0, x < 20 and y < 16 and x + w > 0 and y + h > 0
        found['boxes without area'] += not area
        found['boxes completely outside the image'] += area and not inside
        found['boxes partly outside the image'] += area and inside and (x < -1 or y < -1 or x + w > 21 or y + h > 17)
        if area and inside and box['category_id'] < 3 and not box['iscrowd']:
            usable.append(box)
    found['no images in the file'], found['no usable boxes'] = not images, not usable
    found['categories without boxes'] = 2 - len({box['category_id'] for box in usable})
    for image in images:
        crowds = [box['iscrowd'] for box in boxes if box['image_id'] == image['id']]
        found['images without boxes'] += not crowds
        found['images with only crowd annotations'] += bool(crowds) and all(crowds)
        found['missing images'] += image['file_name'] in lost
    return +found


@settings(max_examples=80)
@given(contents(), st.sets(st.sampled_from([f'{n}.png' for n in range(4)]), max_size=2))
def test_the_check_counts_what_a_naive_count_finds(content, lost):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for image in content['images']:
            if image['file_name'] not in lost:
                cv2.imwrite(str(root / image['file_name']), np.zeros((16, 20, 3), np.uint8))
        (root / 'a.json').write_text(json.dumps(content))
        report = check_split(root / 'a.json', root)
    assert (report.images, report.boxes, report.classes) == (len(content['images']), len(content['annotations']), 2)
    assert {finding.kind: finding.count for finding in report.findings} == naive_counts(content, lost)


@given(st.lists(st.sets(st.sampled_from('abc')), min_size=2, max_size=12), st.floats(0.01, 0.99))
def test_both_parts_of_a_division_have_images(classes, share):
    held = held_out(classes, share)
    assert 0 < len(held) < len(classes) and held == sorted(set(held)) and held == held_out(classes, share)


# Readers of data sets ---------------------------------------------------------------------------------------------------------

NAMES = st.text('abcé中Z019 _-.', min_size=1, max_size=6).map(lambda name: name.strip(' .')).filter(bool)
Truth = dict[str, dict[str, tuple[tuple[int, int], list[tuple]]]]  # split -> name of an image -> (its size, its boxes)


@st.composite
def sets(draw) -> Truth:
    """Images with boxes in pixels, whole or with fractions; each class is in train."""
    whole, classes = draw(st.booleans()), draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))

    def span(side: int) -> tuple[float, float]:
        if whole:
            start = draw(st.integers(0, side - 1))
            return start, draw(st.integers(start + 1, side))
        start = round(draw(st.floats(0, side - 1)), 2)
        return start, round(draw(st.floats(start + 1, side)), 2)

    found: Truth = {'train': {}, 'val': {}, 'test': {}}
    for index, name in enumerate(draw(st.lists(NAMES, min_size=2, max_size=4, unique_by=str.lower))):
        width, height = draw(st.integers(2, 40)), draw(st.integers(2, 40))
        labels = classes if index == 0 else draw(st.lists(st.sampled_from(classes), max_size=3))
        split = 'train' if index == 0 else draw(st.sampled_from(['train', 'train', 'val', 'test']))
        boxes = [(label, *span(width), *span(height)) for label in labels]
        found[split][name] = (width, height), [(label, x1, y1, x2, y2) for label, x1, x2, y1, y2 in boxes]
    return {split: images for split, images in found.items() if images}


def every(truth: Truth):
    """The split, name, size and boxes of each image."""
    return ((split, name, *entry) for split, images in truth.items() for name, entry in images.items())


def classes_of(truth: Truth) -> list[str]:
    return sorted({box[0] for *_, boxes in every(truth) for box in boxes})


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def draw_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode('.png', np.zeros((size[1], size[0], 3), np.uint8))[1].tobytes())


def coco(root: Path, truth: Truth) -> None:
    names = classes_of(truth)
    for split, images in truth.items():
        content = dict(images=[], annotations=[], categories=[dict(id=7 + n, name=name) for n, name in enumerate(names)])
        for number, (name, ((width, height), boxes)) in enumerate(images.items()):
            draw_image(root / 'images' / f'{name}.png', (width, height))
            content['images'].append(dict(id=number, file_name=f'{name}.png', width=width, height=height))
            for label, x1, y1, x2, y2 in boxes:
                box = dict(id=len(content['annotations']) + 1, image_id=number, category_id=7 + names.index(label))
                content['annotations'].append(dict(box, bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0))
        write(root / 'annotations' / f'{split}.json', json.dumps(content))


def voc(root: Path, truth: Truth) -> None:
    """Pixels count from 1 if all coordinates are whole, else from 0."""
    first = int(all(float(value).is_integer() for *_, boxes in every(truth) for box in boxes for value in box[1:]))
    for _, name, (width, height), boxes in every(truth):
        draw_image(root / 'JPEGImages' / f'{name}.png', (width, height))
        objects = ''.join(
            f'<object><name>{escape(label)}</name><bndbox><xmin>{x1 + first}</xmin><ymin>{y1 + first}</ymin><xmax>{x2}</xmax>'
            f'<ymax>{y2}</ymax></bndbox></object>'
            for label, x1, y1, x2, y2 in boxes
        )
        size = f'<size><width>{width}</width><height>{height}</height></size>'
        write(root / 'Annotations' / f'{name}.xml', f'<annotation><filename>{name}.png</filename>{size}{objects}</annotation>')
    for split, images in truth.items():
        write(root / 'ImageSets' / 'Main' / f'{split}.txt', ''.join(f'{name}\n' for name in images))


def yolo(root: Path, truth: Truth) -> None:
    names = classes_of(truth)
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / 'images' / split / f'{name}.png', (width, height))
        rows = [
            (names.index(label), (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            for label, x1, y1, x2, y2 in boxes
        ]
        write(root / 'labels' / split / f'{name}.txt', ''.join('{} {:.7f} {:.7f} {:.7f} {:.7f}\n'.format(*row) for row in rows))
    paths = {split: f'images/{split}' for split in truth}
    write(root / 'data.yaml', yaml.safe_dump(dict(paths, names=dict(enumerate(names))), allow_unicode=True))


def labelme(root: Path, truth: Truth) -> None:
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / split / f'{name}.png', (width, height))
        shapes = [dict(label=label, shape_type='rectangle', points=[[x2, y1], [x1, y2]]) for label, x1, y1, x2, y2 in boxes]
        content = dict(shapes=shapes, imagePath=f'{name}.png', imageWidth=width, imageHeight=height)
        write(root / split / f'{name}.json', json.dumps(content))


def cvat(root: Path, truth: Truth) -> None:
    found = ''
    for split, name, (width, height), boxes in every(truth):
        draw_image(root / 'images' / f'{name}.png', (width, height))
        shapes = ''.join(
            f'<box label="{escape(label)}" xtl="{x1:.2f}" ytl="{y1:.2f}" xbr="{x2:.2f}" ybr="{y2:.2f}"/>'
            for label, x1, y1, x2, y2 in boxes
        )
        found += f'<image name="{name}.png" subset="{split}" width="{width}" height="{height}">{shapes}</image>'
    labels = ''.join(f'<label><name>{escape(name)}</name></label>' for name in classes_of(truth))
    write(root / 'annotations.xml', f'<annotations><meta><task><labels>{labels}</labels></task></meta>{found}</annotations>')


FORMATS = {'coco': coco, 'voc': voc, 'yolo': yolo, 'labelme': labelme, 'cvat': cvat}


def state(root: Path) -> dict:
    """The content and the time of each file that is not written by the conversion."""
    files = (path for path in root.rglob('*') if path.is_file() and FOLDER not in path.parts)
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def adopted(root: Path, notes: list[str]) -> tuple[dict, list[str]]:
    """The boxes by image, and the splits of the images, as training reads them."""
    layout, found = find_layout(root, hold_out=False, note=notes.append), {}
    for split in (name for name in ('train', 'val', 'test') if getattr(layout, name)):
        place = getattr(layout, split)
        content = json.loads(place.ann_file.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        for image in content['images']:
            assert (place.images / image['file_name']).is_file()
            boxes = [box for box in content['annotations'] if box['image_id'] == image['id']]
            boxes = [(names[box['category_id']], x, y, x + w, y + h) for box in boxes for x, y, w, h in [box['bbox']]]
            found[Path(image['file_name']).stem] = (split, (image['width'], image['height']), boxes)
    return found, list(layout.classes)


@settings(max_examples=20)
@pytest.mark.parametrize('name', FORMATS)
@given(truth=sets())
@example(truth={'train': {'photo 1': ((20, 10), [('a', 1, 2, 5, 6)]), 'photo': ((8, 8), [('a', 0, 0, 8, 8)])}})
def test_a_set_has_its_boxes_in_each_format(name, truth):
    """The boxes, classes and splits are those that were written; a second call writes nothing; the set is unchanged."""
    with tempfile.TemporaryDirectory() as folder:
        root, notes = Path(folder), []
        FORMATS[name](root, truth)
        before = state(root)
        found, classes = adopted(root, notes)
        written = {path: path.read_bytes() for path in (root / FOLDER).rglob('*.json')}
        assert classes == classes_of(truth) and len(found) == sum(map(len, truth.values()))
        for split, image, size, boxes in every(truth):
            stated, sides, read = found[image]
            assert sides == size and [box[0] for box in read] == [box[0] for box in boxes]
            assert stated == split or len(truth) == 1  # of a set with train only, a part is held out
            if boxes:
                np.testing.assert_allclose([box[1:] for box in read], [box[1:] for box in boxes], atol=0.006)
        assert adopted(root, notes) == (found, classes) and len(notes) == (name != 'coco')
        if name != 'coco':
            assert convert(root).note is None and written == {path: path.read_bytes() for path in (root / FOLDER).rglob('*.json')}
        assert not any(report.fatal for report in check_root(root)) or any(not boxes for *_, boxes in every(truth))
        assert state(root) == before


# Tables -----------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.fixed_dictionaries(dict(name=st.text(), macs=st.integers(), acc=st.floats(allow_nan=False))), min_size=1))
def test_a_table_is_read_as_it_was_written(rows):
    """Texts that look like numbers become numbers; written again, they are the same file."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_csv(Path(folder) / 'a.csv', rows)
        found = read_csv(path, ('macs',))
        assert [row['macs'] for row in found] == [row['macs'] for row in rows]
        assert [row['acc'] for row in found] == [row['acc'] for row in rows]
        assert read_csv(write_csv(Path(folder) / 'b.csv', found)) == found

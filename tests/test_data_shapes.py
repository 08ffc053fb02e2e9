"""The built-in shapes: the same bytes for a seed, boxes that fit the pixels, and a folder that is complete or absent."""

import hashlib
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tinynet_mm.data.check import check_split
from tinynet_mm.data.shapes import CLASSES, Shape, ShapesSpec, detection_picture, make_shapes

SMALL = ShapesSpec(train=6, val=2, test=2, size=96, class_train=2, class_val=1, class_size=40)


def hashes(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob('*')) if p.is_file()}


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp('made') / 'shapes'
    assert len(list(make_shapes(out, SMALL))) == 4
    return out


def test_a_seed_gives_the_same_bytes(made, tmp_path):
    list(make_shapes(tmp_path / 'again', SMALL))
    list(make_shapes(tmp_path / 'other', replace(SMALL, seed=1)))
    first, again, other = hashes(made), hashes(tmp_path / 'again'), hashes(tmp_path / 'other')
    assert first == again
    assert first.keys() == other.keys() and not set(first.values()) & set(other.values())


def test_a_larger_set_starts_with_the_smaller_one(made, tmp_path):
    list(make_shapes(tmp_path / 'larger', replace(SMALL, train=8, class_train=3)))
    first, larger = hashes(made), hashes(tmp_path / 'larger')
    pictures = [name for name in first if name.endswith('.jpg')]
    assert [larger[name] for name in pictures] == [first[name] for name in pictures]


def test_layout_and_counts(made):
    for split in ('train', 'val', 'test'):
        content = json.loads((made / 'coco' / 'annotations' / f'{split}.json').read_text())
        assert [category['name'] for category in content['categories']] == list(CLASSES)
        assert len(content['images']) == getattr(SMALL, split)
        assert all((made / 'coco' / 'images' / image['file_name']).is_file() for image in content['images'])
        report = check_split(made / 'coco' / 'annotations' / f'{split}.json', made / 'coco' / 'images')
        assert {finding.kind for finding in report.findings} <= {'categories without boxes'}
    for split, count in (('train', 2), ('val', 1)):
        assert {p.name: len(list(p.iterdir())) for p in (made / 'imagenet' / split).iterdir()} == dict.fromkeys(CLASSES, count)


@pytest.mark.parametrize('label', range(len(CLASSES)), ids=CLASSES)
@pytest.mark.parametrize('angle', [0.0, 0.4, 2.0])
def test_a_box_fits_what_is_drawn(label, angle):
    shape = Shape(label, (50.3, 61.8), 30.0, angle, (255, 255, 255))
    picture = np.zeros((120, 110, 3), np.uint8)
    shape.draw(picture)
    ys, xs = np.nonzero(picture[..., 0] > 100)
    np.testing.assert_allclose(shape.box(), [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=1.6)
    assert (picture[61, 50] == 0).all() == (CLASSES[label] == 'ring')


def test_shapes_are_visible():
    """With a mask of each shape: 1 to 4 shapes, all inside, none mostly hidden."""
    for seed in range(30):
        picture, shapes = detection_picture(np.random.default_rng(seed), 160)
        assert 1 <= len(shapes) <= 4 and picture.shape == (160, 160, 3)
        masks = []
        for shape in shapes:
            assert (shape.box() >= 0).all() and (shape.box() <= 160).all()
            mask = np.zeros((160, 160, 3), np.uint8)
            replace(shape, colour=(255,) * 3).draw(mask)
            masks.append(mask[..., 0] > 127)
        for index, mask in enumerate(masks):
            hidden = np.any(masks[index + 1 :], axis=0) if index + 1 < len(masks) else np.zeros_like(mask)
            assert (mask & ~hidden).sum() > 0.4 * mask.sum()


def test_the_same_set_is_kept_and_another_one_is_refused(made, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in made.rglob('*')}
    assert list(make_shapes(made, SMALL)) == []
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob('*')}
    with pytest.raises(ValueError, match='give another folder or remove it'):
        list(make_shapes(made, replace(SMALL, seed=3)))
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'notes.txt').write_text('text')
    with pytest.raises(ValueError, match='something other'):
        list(make_shapes(tmp_path / 'mine', SMALL))


def test_an_interrupted_run_leaves_no_incomplete_set(tmp_path):
    steps = make_shapes(tmp_path / 'shapes', SMALL)
    next(steps), next(steps)
    steps.close()
    assert not list(tmp_path.iterdir())
    (tmp_path / 'shapes').mkdir()  # an empty folder is accepted
    list(make_shapes(tmp_path / 'shapes', SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ['shapes']


@pytest.mark.parametrize('change', [dict(train=0), dict(size=8), dict(seed=-1), dict(class_val=0)])
def test_bad_numbers(change):
    with pytest.raises(ValueError, match='give at least'):
        replace(SMALL, **change)


def test_tool(tmp_path, capsys):
    numbers = dict(train=2, val=1, test=1, size=64, class_train=1, class_val=1, class_size=32)
    sizes = [f'--{name.replace("_", "-")}={number}' for name, number in numbers.items()]
    spec = importlib.util.spec_from_file_location('tools_make_shapes', Path('tools') / 'make_shapes.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main([str(tmp_path / 'out'), *sizes]) == 0
    assert str(tmp_path / 'out' / 'coco') in capsys.readouterr().out
    assert len(list((tmp_path / 'out').rglob('*.jpg'))) == 4 + 10

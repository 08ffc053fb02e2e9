"""Tiles: every pixel is in one, objects on their borders are found once, and an image of one tile keeps its results."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tinynet_mm.deploy.runtime import Detections
from tinynet_mm.deploy.tiles import connected, cut, tiled
from tinynet_mm.errors import UserError


def squares(image: np.ndarray) -> Detections:
    """A detector for tests: the connected areas of each colour, as a tile shows them; the score is their share of the image."""
    boxes, labels, scores = [], [], []
    for label, channel in enumerate((0, 2)):
        count, _, stats, _ = cv2.connectedComponentsWithStats((image[..., channel] > 127).astype(np.uint8))
        for x, y, w, h, area in stats[1:count]:
            boxes.append((x, y, x + w, y + h))
            labels.append(label)
            scores.append(min(0.99, 0.5 + area / image.shape[0] / image.shape[1]))
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, int), ('b', 'r'))


def detect(images):
    return [squares(image) for image in images]


def blind_to_large(images):
    """As ``detect``, without the small objects of large images: what a network does that shrinks its input."""
    found = []
    for image, seen in zip(images, detect(images)):
        sides = seen.boxes[:, 2:] - seen.boxes[:, :2]
        keep = sides.max(axis=1, initial=0) > 0.04 * max(image.shape[:2]) if len(seen) else np.zeros(0, bool)
        found.append(Detections(seen.boxes[keep], seen.scores[keep], seen.labels[keep], seen.classes))
    return found


def picture(width: int, height: int, *boxes) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for channel, x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2, channel] = 255
    return image


def rows(found: Detections) -> list:
    return sorted((int(label), *map(float, box)) for label, box in zip(found.labels, found.boxes))


def expected(*boxes) -> list:
    return sorted((channel // 2, *map(float, corners)) for channel, *corners in boxes)


@pytest.mark.parametrize(
    'width, height, size, overlap', [(1000, 700, 320, 0.2), (320, 321, 320, 0.0), (65, 900, 64, 0.5), (50, 40, 64, 0.2)]
)
def test_tiles_cover_the_image_and_overlap(width, height, size, overlap):
    seen = np.zeros((height, width), int)
    tiles = list(cut(width, height, size, overlap))
    for x1, y1, x2, y2 in tiles:
        assert (x2 - x1, y2 - y1) == (min(size, width), min(size, height)) and x1 >= 0 and y1 >= 0
        seen[y1:y2, x1:x2] += 1
    assert seen.min() == 1 or overlap > 0 and seen.min() >= 1
    lefts = sorted({tile[0] for tile in tiles})
    assert all(b - a <= size * (1 - overlap) + 1 for a, b in zip(lefts, lefts[1:]))


@pytest.mark.parametrize('detector', [detect, blind_to_large])
@pytest.mark.parametrize('x', range(90, 420, 15))
def test_an_object_on_a_border_is_found_once(detector, x):
    """A box that moves over the borders of tiles of 128 pixels; it is smaller, equal or larger than the overlap."""
    for side in (12, 25, 60):
        boxes = [(0, x, 100, x + side, 100 + side), (2, 500, 300, 530, 330), (2, 533, 300, 560, 330)]
        image = picture(640, 480, *boxes)
        (found,) = tiled(detector, 128, 0.2)([image])
        assert rows(found) == expected(*boxes), side
        assert list(found.scores) == sorted(found.scores, reverse=True) and found.classes == ('b', 'r')


@pytest.mark.parametrize('box', [(0, 40, 50, 600, 90), (2, 10, 10, 630, 470), (0, 120, 0, 250, 480)])
def test_an_object_larger_than_a_tile_is_one(box):
    image = picture(640, 480, box)
    (found,) = tiled(detect, 128, 0.2)([image])
    assert rows(found) == expected(box)


def test_without_the_complete_image_the_pieces_are_joined():
    """A detector that sees nothing in the complete image: the box around the pieces of four tiles."""

    def tiles_only(images):
        return [squares(image if image.shape[1] < 640 else np.zeros_like(image)) for image in images]

    box = (0, 40, 50, 600, 90)
    (found,) = tiled(tiles_only, 256, 0.25)([picture(640, 480, box)])
    assert rows(found) == expected(box)


def test_small_objects_next_to_each_other_stay_apart():
    boxes = [(0, x, y, x + 9, y + 9) for x in range(4, 630, 11) for y in range(5, 470, 40)]
    (found,) = tiled(blind_to_large, 160, 0.2)([picture(640, 480, *boxes)])
    assert rows(found) == expected(*boxes)
    assert len(blind_to_large([picture(640, 480, *boxes)])[0]) == 0, 'without tiles they are not found'


def test_an_image_of_one_tile_is_not_changed():
    image = picture(128, 100, (0, 3, 3, 50, 60), (0, 60, 3, 70, 9), (2, 20, 20, 90, 99))
    (found,), (plain,) = tiled(detect, 128)([image]), detect([image])
    assert np.array_equal(found.boxes, plain.boxes) and np.array_equal(found.scores, plain.scores)
    (nothing,) = tiled(detect, 64)([picture(300, 200)])
    assert len(nothing) == 0 and nothing.boxes.shape == (0, 4)


def test_connected_parts_are_those_of_scipy():
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(0)
    for _ in range(20):
        linked = rng.random((12, 12)) < 0.08
        linked |= linked.T
        count, names = connected(linked)
        wanted, reference = connected_components(linked, directed=False)
        assert count == wanted and len(set(zip(names.tolist(), reference.tolist()))) == count


@pytest.mark.parametrize('size, overlap', [(16, 0.2), (64, 1.0), (64, -0.1)])
def test_wrong_tiles(size, overlap):
    with pytest.raises(UserError, match='give at least 32 pixels'):
        tiled(detect, size, overlap)


# The tool ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def predict():
    spec = importlib.util.spec_from_file_location('tools_predict', Path('tools/predict.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_passes_the_tiles(predict, monkeypatch, tmp_path):
    image = picture(300, 200, (0, 120, 50, 131, 61))
    cv2.imwrite(str(tmp_path / 'large.png'), image)
    monkeypatch.setattr(predict, 'untiled', lambda args: blind_to_large)
    command = ['model.onnx', str(tmp_path / 'large.png'), '--out', str(tmp_path / 'out')]
    for more, count in (([], 0), (['--tile', '128'], 1), (['--tile', '128', '--tile-overlap', '0'], 1)):
        assert predict.main(command + more) == 0
        found = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
        assert [row['bbox'] for row in found] == [[120, 50, 11, 11]] * count
    with pytest.raises(SystemExit):
        predict.main([*command, '--tile-overlap', '0.1'])

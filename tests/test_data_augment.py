"""SSDWarp compared with mmdet's five transforms, brute force, cv2.resize, and the position of a marked patch of pixels."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import MinIoURandomCrop, PhotoMetricDistortion
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import TRANSFORMS
from scipy.stats import ks_2samp
from torchvision.ops import box_iou

from tinynet_mm.data.augment import SSDWarp, Window, distort, pairwise_iou, sample_crop, sample_expand, try_crops, warp

OFF = dict(expand_prob=0, min_ious=None, flip_prob=0, distort=False)
BOXES = np.array([[10, 8, 40, 30], [30, 20, 60, 44], [5, 30, 20, 47]], np.float32)

LARGE = np.array([[0, 5, 60, 50], [5, 0, 66, 48]], np.float32)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture: a wrong position changes it much, interpolation hardly."""
    coarse = np.random.default_rng(seed).uniform(60, 190, (6, 6, 3)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).round().astype(np.uint8)


def results_of(image: np.ndarray, boxes: np.ndarray) -> dict:
    return dict(
        img=image,
        img_shape=image.shape[:2],
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.arange(len(boxes)) % 2 == 1,
    )


@pytest.mark.parametrize('height, width, size', [(48, 64, 96), (96, 128, 96), (300, 200, 128), (100, 100, 100)])
def test_without_randomness_it_is_a_resize(height, width, size):
    """OpenCV's warp places pixels in steps of 1/32, hence the two levels."""
    image, boxes = picture(height, width), np.array([[3, 5, 40, 44]], np.float32)
    results = SSDWarp(size, **OFF)(results_of(image, boxes))
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    assert np.abs(results['img'].astype(int) - expected).max() <= 2
    scale = [size / width, size / height] * 2
    np.testing.assert_allclose(results['gt_bboxes'].tensor, boxes * scale, rtol=1e-6)
    assert results['img_shape'] == (size, size) and results['scale_factor'] == tuple(scale[:2]) and results['flip'] is False


def test_flip_mirrors_image_and_boxes():
    image = picture(48, 64)
    straight = SSDWarp(80, **OFF)(results_of(image, BOXES))
    flipped = SSDWarp(80, **{**OFF, 'flip_prob': 1})(results_of(image, BOXES))
    assert np.abs(flipped['img'][:, ::-1].astype(int) - straight['img']).max() <= 2
    x1, y1, x2, y2 = straight['gt_bboxes'].tensor.T
    torch.testing.assert_close(flipped['gt_bboxes'].tensor, torch.stack([80 - x2, y1, 80 - x1, y2], 1))
    assert flipped['flip_direction'] == 'horizontal'


def test_a_crop_without_scaling_is_a_slice():
    image = picture(200, 200)
    np.testing.assert_array_equal(warp(image, Window(30, 50, 130, 150), 100, (0, 0, 0)), image[50:150, 30:130])
    np.testing.assert_array_equal(
        warp(image, Window(30, 50, 130, 150, flip=True), 100, (0, 0, 0)), image[50:150, 30:130][:, ::-1]
    )


def test_expansion_fills_with_the_mean_in_bgr():
    out = warp(picture(40, 40), Window(-20, -20, 100, 100), 120, (10, 20, 30))
    np.testing.assert_array_equal(out[20:60, 20:60], picture(40, 40))
    assert (out[61:] == (10, 20, 30)).all() and (out[:19] == (10, 20, 30)).all()
    results = TRANSFORMS.build(
        dict(type='SSDWarp', size=64, expand_ratio=(4, 4), expand_prob=1, **{k: OFF[k] for k in ('min_ious', 'distort')})
    )(results_of(np.full((64, 64, 3), 255, np.uint8), BOXES))
    colours, counts = np.unique(results['img'].reshape(-1, 3), axis=0, return_counts=True)
    assert colours[counts.argmax()].tolist() == [104, 116, 124]  # ImageNet's mean, reversed and rounded


@pytest.mark.parametrize('seed', range(60))
def test_boxes_follow_a_marked_patch(seed):
    """A white patch on black moves with its box through expand, crop, shrinking, resize and flip."""
    rng = np.random.default_rng(seed)
    x1, y1 = rng.integers(0, 150, 2)
    x2, y2 = x1 + rng.integers(30, 150), y1 + rng.integers(30, 90)
    image = np.zeros((240, 320, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    np.random.seed(seed)
    results = SSDWarp(128, mean=(0, 0, 0), distort=False)(results_of(image, np.array([[x1, y1, x2, y2]], np.float32)))
    ys, xs = np.nonzero(results['img'][..., 0] > 127)
    seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    np.testing.assert_allclose(results['gt_bboxes'].tensor[0], seen, atol=1.01)


def test_pairwise_iou_is_torchvisions():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (30, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    expected = box_iou(torch.from_numpy(boxes[:10]), torch.from_numpy(boxes))
    np.testing.assert_allclose(pairwise_iou(boxes[:10], boxes), expected, atol=1e-6)


@pytest.mark.parametrize('min_iou, boxes', [(0.0, BOXES), (0.1, BOXES), (0.3, LARGE), (0.6, LARGE)])
def test_crops_meet_the_minimum_iou(min_iou, boxes):
    """With torchvision's IoU: every box overlaps enough, a centre is inside, and canvas and aspect ratio limit the window."""
    canvas, found = Window(-10, -5, 70, 60), 0
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for seed in range(100):
        window = try_crops(np.random.default_rng(seed), canvas, boxes, min_iou, 0.3)
        if window is None:
            continue
        found += 1
        corners = torch.tensor([[window.x1, window.y1, window.x2, window.y2]], dtype=torch.float32)
        assert box_iou(corners, torch.from_numpy(boxes)).min() >= min_iou - 1e-6
        assert any(window.x1 < x < window.x2 and window.y1 < y < window.y2 for x, y in centres)
        assert window.x1 >= -10 and window.y1 >= -5 and window.x2 <= 70 and window.y2 <= 60
        assert 0.5 * 0.9 < window.height / window.width < 2 * 1.1 and window.width >= 0.3 * 80 - 1
    assert found > 20


def test_an_impossible_minimum_has_no_crop_and_without_boxes_any_crop_is_valid():
    rng = np.random.default_rng(0)
    assert try_crops(rng, Window(0, 0, 64, 48), BOXES, 0.9, 0.3) is None
    assert sample_crop(rng, Window(0, 0, 64, 48), BOXES, (0.9,), 0.3) is not None
    assert try_crops(rng, Window(0, 0, 64, 48), BOXES[:0], 0.9, 0.3) is not None


def test_crops_are_distributed_as_mmdets():
    """Two-sample Kolmogorov-Smirnov test of window sides, position and number of boxes; fixed seeds give a fixed result."""
    theirs, ours = [], []
    np.random.seed(1)
    crop = MinIoURandomCrop()
    columns = np.tile(np.arange(64), (48, 1))
    rows = np.tile(np.arange(48)[:, None], (1, 64))
    image = np.stack([columns, rows, rows], 2).astype(np.uint8)  # the colour of a pixel is its position
    for _ in range(400):
        out = crop(results_of(image, BOXES))
        height, width = out['img'].shape[:2]
        theirs.append((*out['img'][0, 0, :2].tolist(), width, height, len(out['gt_bboxes'])))
    rng = np.random.default_rng(1)
    for _ in range(1000):
        window = sample_crop(rng, Window(0, 0, 64, 48), BOXES, crop.min_ious, crop.min_crop_size)
        ours.append((window.x1, window.y1, window.width, window.height, window.contains_centre(BOXES).sum()))
    for a, b in zip(np.array(theirs).T, np.array(ours).T):
        assert ks_2samp(a, b).pvalue > 0.01


def test_expansion_is_uniform_in_ratio_and_position():
    rng = np.random.default_rng(0)
    windows = [sample_expand(rng, 640, 480, (1, 4)) for _ in range(2000)]
    ratios = np.array([window.width / 640 for window in windows])
    places = np.array([-window.x1 / max(window.width - 640, 1) for window in windows])
    assert ks_2samp(ratios, np.linspace(1, 4, 4000)).pvalue > 0.01 and ks_2samp(places, np.linspace(0, 1, 4000)).pvalue > 0.01
    assert all(window.x1 <= 0 and window.x2 >= 639 and window.y1 <= 0 and window.y2 >= 479 for window in windows)


def test_strong_shrinking_averages():
    """A pattern of single pixels becomes grey; a plain bilinear warp samples single pixels and keeps the contrast."""
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::3] = 255
    window = Window(0, 0, 512, 512)
    assert warp(stripes, window, 100, (0, 0, 0)).std() < 0.5 * cv2.resize(stripes, (100, 100)).std()
    assert abs(warp(stripes, window, 100, (0, 0, 0)).mean() - 85) < 2


class Draws:
    """A replacement for the random generator that returns given numbers."""

    def __init__(self, flags, values, order):
        self.flags, self.values, self.order = flags, iter(values), order

    def random(self, count):
        return np.where(self.flags, 0.0, 1.0)

    def uniform(self, low, high):
        value = next(self.values)
        assert low <= value <= high
        return value

    def permutation(self, count):
        return np.array(self.order)


@pytest.mark.parametrize('late', [0, 1])
@pytest.mark.parametrize(
    'flags', [(1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 1, 0, 0), (0, 0, 0, 1, 0), (0, 0, 0, 0, 1), (1, 1, 1, 1, 1)]
)
def test_distortion_equals_mmdets_in_range(late, flags):
    """With the same random numbers, up to rounding to 8 bits (a hue step is 1.4 degrees)."""
    image, values, order = picture(40, 40), (14.0, 0.8, 0.9, 12.0), (2, 0, 1)
    draws = [value for value, flag in zip(values, flags) if flag]
    before = image.copy()
    ours = distort(image, Draws(np.array([*flags, late], bool), draws, order))
    stock = PhotoMetricDistortion()
    shift, gain, chroma, angle = values
    bright, contrast, saturate, turn, swap = flags
    stock._random_flags = lambda: (1 - late, bright, contrast, saturate, turn, swap, shift, gain, chroma, angle, list(order))
    theirs = stock(dict(img=image))['img']
    np.testing.assert_array_equal(image, before)
    assert np.abs(ours - theirs).max() <= 6 and np.abs(ours - theirs).mean() < 1.5


def test_labels_and_flags_stay_with_their_boxes():
    kept = []
    for seed in range(30):
        np.random.seed(seed)
        results = SSDWarp(64)(results_of(picture(48, 64), BOXES))
        labels, boxes = results['gt_bboxes_labels'], results['gt_bboxes'].tensor
        assert len(labels) == len(boxes) == len(results['gt_ignore_flags']) > 0
        np.testing.assert_array_equal(results['gt_ignore_flags'], labels % 2 == 1)
        assert boxes.dtype == torch.float32 and boxes.min() >= 0 and boxes.max() <= 64
        assert results['img'].shape == (64, 64, 3) and results['img'].dtype == np.uint8
        kept.append(len(labels))
    assert min(kept) < 3 and max(kept) == 3


def test_numpys_seed_determines_the_result():
    def run(seed):
        np.random.seed(seed)
        return SSDWarp(64)(results_of(picture(48, 64), BOXES))

    np.testing.assert_array_equal(run(5)['img'], run(5)['img'])
    assert (run(5)['img'] != run(6)['img']).any()


def test_an_image_without_boxes_is_accepted():
    np.random.seed(0)
    results = SSDWarp(64)(results_of(picture(48, 64), BOXES[:0]))
    assert results['gt_bboxes'].tensor.shape == (0, 4) and results['img'].shape == (64, 64, 3)


@pytest.mark.parametrize(
    'change, sentence',
    [
        (dict(size=0), 'size=0 is the side'),
        (dict(size=(320, 320)), 'one positive number'),
        (dict(expand_ratio=(0.5, 4)), 'both at least 1'),
        (dict(min_crop_size=1.5), 'fraction of the side'),
    ],
)
def test_bad_arguments(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        SSDWarp(**{'size': 64, **change})


def test_bad_input():
    with pytest.raises(ValueError, match='leave with_mask'):
        SSDWarp(64)(dict(results_of(picture(48, 64), BOXES), gt_masks=[]))
    with pytest.raises(ValueError, match='leave to_float32'):
        SSDWarp(64)(results_of(picture(48, 64).astype(np.float32), BOXES))

"""The augmentation of SSD as one warp: expand, min-IoU crop, resize and flip in one pass over the output pixels.

The distributions are those of mmdet's ``Expand``, ``MinIoURandomCrop``, ``Resize``, ``RandomFlip`` and
``PhotoMetricDistortion`` in that order (Liu et al., SSD, 2016, section 3.6). mmdet builds a canvas of up to 16 times the image,
tests up to 50 crops one by one and distorts in 32-bit floats. Here expand and crop only move a window over the source image, 50
crops are tested at once, one ``cv2.warpAffine`` fills the output, and colours change on the small 8-bit result.

Intended differences:

* A window that shrinks the image by two or more is averaged first (``INTER_AREA``, integer factors). A bilinear warp reads 2x2
  source pixels per output pixel, so above a factor of two it skips pixels and aliases small objects, as mmdet does.
* Colours are 8-bit and saturate at 0 and 255, and hues have steps of 1.4 degrees; mmdet's floats can exceed the range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ..errors import UserError
from .images import IMAGENET_MEAN

# mmdet's defaults of the five transforms
MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9)
CROP_TRIES = 50
BRIGHTNESS, CONTRAST, SATURATION, HUE_DEGREES = 32, (0.5, 1.5), (0.5, 1.5), 18
LEVELS = np.arange(256)


@dataclass(frozen=True)
class Window:
    """The region that the output shows, in pixels of the source image; it can exceed the image."""

    x1: int
    y1: int
    x2: int
    y2: int
    flip: bool = False

    @property
    def width(self) -> int:
        """Width in source pixels."""
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        """Height in source pixels."""
        return self.y2 - self.y1

    def to_output(self, boxes: np.ndarray, size: int) -> np.ndarray:
        """Boxes (N, 4) xyxy in source pixels as boxes in pixels of the (size, size) output, clipped to it."""
        scale = np.array([size / self.width, size / self.height] * 2, np.float32)
        moved = (boxes - np.array([self.x1, self.y1] * 2, np.float32)) * scale
        if self.flip:
            moved = np.stack([size - moved[:, 2], moved[:, 1], size - moved[:, 0], moved[:, 3]], 1)
        return moved.clip(0, size)

    def contains_centre(self, boxes: np.ndarray) -> np.ndarray:
        """Whether the centre of each box (N, 4) is inside, as (N,) booleans."""
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        return (x > self.x1) & (x < self.x2) & (y > self.y1) & (y < self.y2)


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes (N, 4) with boxes (M, 4), both xyxy, as (N, M); 0 if both are empty."""
    a = a[:, None]
    shared = (np.minimum(a[..., 2], b[:, 2]) - np.maximum(a[..., 0], b[:, 0])).clip(0)
    shared = shared * (np.minimum(a[..., 3], b[:, 3]) - np.maximum(a[..., 1], b[:, 1])).clip(0)
    areas = (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return shared / np.maximum(areas - shared, 1e-6)


def sample_expand(rng: np.random.Generator, width: int, height: int, ratios: tuple[float, float]) -> Window:
    """A canvas of ``ratios`` (least and largest) times the image's sides, with the image at a random position."""
    ratio = rng.uniform(*ratios)
    left, top = int(rng.uniform(0, width * (ratio - 1))), int(rng.uniform(0, height * (ratio - 1)))
    return Window(-left, -top, int(width * ratio) - left, int(height * ratio) - top)


def sample_crop(
    rng: np.random.Generator, canvas: Window, boxes: np.ndarray, min_ious: Sequence[float], min_side: float
) -> Window:
    """A part of the canvas whose IoU with every box is at least a random one of ``min_ious``, or the complete canvas.

    As in mmdet: draw a minimum from (complete canvas, *min_ious, 0), try 50 windows, and draw another minimum if none is valid.
    """
    minima = (None, *min_ious, 0.0)
    while True:
        min_iou = minima[rng.integers(len(minima))]
        window = canvas if min_iou is None else try_crops(rng, canvas, boxes, min_iou, min_side)
        if window is not None:
            return window


def try_crops(rng: np.random.Generator, canvas: Window, boxes: np.ndarray, min_iou: float, min_side: float) -> Window | None:
    """The first of 50 random windows with IoU >= ``min_iou`` for every box and the centre of a box inside, or None.

    A window has ``min_side`` to 1 times the canvas's sides and an aspect ratio of 1/2 to 2. ``boxes`` is (N, 4) xyxy, or empty.
    """
    sides = rng.uniform(min_side, 1, (CROP_TRIES, 2)) * (canvas.width, canvas.height)
    starts = rng.random((CROP_TRIES, 2)) * ((canvas.width, canvas.height) - sides)
    windows = np.concatenate([starts, starts + sides], 1).astype(int) + [canvas.x1, canvas.y1] * 2
    aspect = sides[:, 1] / sides[:, 0]
    valid = (aspect >= 0.5) & (aspect <= 2) & (windows[:, 2:] > windows[:, :2]).all(1)
    if len(boxes):
        valid &= pairwise_iou(windows, boxes).min(1) >= min_iou
    for index in np.flatnonzero(valid):
        window = Window(*windows[index].tolist())
        if not len(boxes) or window.contains_centre(boxes).any():
            return window
    return None


def warp(image: np.ndarray, window: Window, size: int, fill: Sequence[float]) -> np.ndarray:
    """The window of an (H, W, 3) uint8 image as (size, size, 3); ``fill`` is the colour around the image."""
    height, width = image.shape[:2]
    step = np.array([window.width, window.height]) / size  # source pixels per output pixel
    start = np.array([window.x1, window.y1], float)
    factors = np.maximum(step.astype(int), 1)
    if factors.max() > 1:
        image = cv2.resize(image, (-(-width // factors[0]).item(), -(-height // factors[1]).item()), interpolation=cv2.INTER_AREA)
        shrink = np.array([image.shape[1] / width, image.shape[0] / height])
        step, start = step * shrink, start * shrink
    # Pixel i covers [i, i + 1): output i reads the source at start + (i + 0.5) * step - 0.5, mirrored if flipped.
    matrix = np.array([[step[0], 0, start[0] + step[0] / 2 - 0.5], [0, step[1], start[1] + step[1] / 2 - 0.5]])
    if window.flip:
        matrix[0] = -step[0], 0, matrix[0, 2] + (size - 1) * step[0]
    exceeds = window.x1 < 0 or window.y1 < 0 or window.x2 > width or window.y2 > height
    border = cv2.BORDER_CONSTANT if exceeds else cv2.BORDER_REPLICATE  # otherwise fill enters the edge of an enlarged image
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=border, borderValue=tuple(fill))


def distort(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, saturation, hue and channel order, each with a probability of 0.5, in 8 bits.

    ``image`` is (H, W, 3) uint8 in BGR and is not changed. With a probability of 0.5, contrast follows saturation and hue
    instead of preceding them; then it scales the value of HSV, which scales all three colours.
    """
    bright, contrast, saturate, turn, swap, late = rng.random(6) < 0.5
    shift = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if bright else 0.0
    gain = rng.uniform(*CONTRAST) if contrast else 1.0
    late &= saturate or turn
    early = 1.0 if late else gain
    if bright or contrast:
        image = cv2.addWeighted(image, early, image, 0, shift * early)  # the fastest function of OpenCV for this; it saturates
    if saturate or turn:
        chroma = rng.uniform(*SATURATION) if saturate else 1.0
        angle = rng.uniform(-HUE_DEGREES, HUE_DEGREES) if turn else 0.0
        hue = (LEVELS + round(angle * 256 / 360)) % 256
        tables = np.stack([hue, levels(LEVELS * chroma), levels(LEVELS * (gain if late else 1))], 1).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL), tables[None])
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
    return cv2.merge([cv2.extractChannel(image, int(i)) for i in rng.permutation(3)]) if swap else image


def levels(table: np.ndarray) -> np.ndarray:
    """Numbers rounded and clipped to 0 to 255."""
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class SSDWarp(BaseTransform):
    """Expand, crop, resize, flip and distort an image with its boxes, between the loading transforms and ``mmdet.PackDetInputs``.

    Reads ``img`` (H, W, 3) uint8 BGR, ``gt_bboxes`` (mmdet's ``HorizontalBoxes``), ``gt_bboxes_labels`` and ``gt_ignore_flags``;
    changes them and sets ``img_shape``, ``scale_factor`` (output pixels per source pixel, x then y), ``flip`` and
    ``flip_direction``. Random numbers come from NumPy's global state, which MMEngine seeds in every worker.

    Args:
        size: side of the square output in pixels.
        mean: colour around an expanded image, RGB.
        expand_ratio: least and largest ratio of the expanded canvas's sides to the image's sides.
        expand_prob: probability of expansion.
        min_ious: minimum IoU of a crop with every box, drawn from these; None for no crop.
        min_crop_size: least ratio of a crop's sides to the canvas's sides.
        flip_prob: probability of a horizontal flip.
        distort: whether colours are distorted.

    Raises:
        UserError: an argument is out of its range, or the results contain masks or segmentation maps, which are not supported.
    """

    def __init__(
        self,
        size: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        expand_ratio: tuple[float, float] = (1, 4),
        expand_prob: float = 0.5,
        min_ious: Sequence[float] | None = MIN_IOUS,
        min_crop_size: float = 0.3,
        flip_prob: float = 0.5,
        distort: bool = True,
    ):
        if not (isinstance(size, int) and size > 0):
            raise UserError(f'SSDWarp: size={size!r} is the side of the square output, one positive number of pixels.')
        if not 1 <= expand_ratio[0] <= expand_ratio[1]:
            raise UserError(f'SSDWarp: expand_ratio={expand_ratio} is the least and the largest ratio, both at least 1.')
        if not 0 < min_crop_size <= 1:
            raise UserError(f'SSDWarp: min_crop_size={min_crop_size} is a fraction of the side, above 0 and up to 1.')
        self.size, self.mean, self.distort = size, tuple(mean), distort
        self.expand_ratio, self.expand_prob = (expand_ratio[0], expand_ratio[1]), expand_prob
        self.min_ious, self.min_crop_size = min_ious, min_crop_size
        self.flip_prob = flip_prob

    def sample(self, rng: np.random.Generator, width: int, height: int, boxes: np.ndarray) -> Window:
        """Draw the window for an image of this width and height in pixels, with boxes (N, 4) xyxy in its pixels."""
        window = Window(0, 0, width, height)
        if rng.random() < self.expand_prob:
            window = sample_expand(rng, width, height, self.expand_ratio)
        if self.min_ious is not None:
            window = sample_crop(rng, window, boxes, self.min_ious, self.min_crop_size)
        return Window(window.x1, window.y1, window.x2, window.y2, flip=bool(rng.random() < self.flip_prob))

    def transform(self, results: dict) -> dict:
        """Warp the image and its boxes in place; boxes whose centre is outside are removed, with their labels and flags."""
        for key in ('gt_masks', 'gt_seg_map'):
            if key in results:
                raise UserError(f'SSDWarp transforms boxes, not {key}: leave with_mask and with_seg out of LoadAnnotations.')
        image, boxes = results['img'], results['gt_bboxes'].tensor.numpy()
        if image.dtype != np.uint8:
            raise UserError(f'SSDWarp works on 8-bit images, not {image.dtype}: leave to_float32 out of LoadImageFromFile.')
        rng = np.random.default_rng(np.random.randint(2**31))
        window = self.sample(rng, image.shape[1], image.shape[0], boxes)
        image = warp(image, window, self.size, self.mean[::-1])
        results['img'] = distort(image, rng) if self.distort else image
        keep = window.contains_centre(boxes)
        results['gt_bboxes'] = type(results['gt_bboxes'])(torch.from_numpy(window.to_output(boxes[keep], self.size)))
        for key in ('gt_bboxes_labels', 'gt_ignore_flags'):
            if key in results:
                results[key] = results[key][keep]
        results['img_shape'] = (self.size, self.size)
        results['scale_factor'] = (self.size / window.width, self.size / window.height)
        results['flip'], results['flip_direction'] = window.flip, 'horizontal' if window.flip else None
        return results

    def __repr__(self) -> str:
        return f'SSDWarp({", ".join(f"{name}={value}" for name, value in vars(self).items())})'

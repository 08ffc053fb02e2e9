"""Draw a built-in data set of shapes that a TinyNet learns in minutes on a CPU, without any download.

Not from the paper. Each picture has a separate random stream, seeded by (seed, split, index): a seed always gives the same bytes
(with the same NumPy and OpenCV), and a larger set starts with the pictures of the smaller one. The sizes (1 to 4 shapes per
picture, circumscribed circles of 20 to 55 % of the side, boxes that overlap by at most a quarter of the smaller one) were chosen
so that a TinyNet-E SSDLite at 320 px learns the set from scratch.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from ..files import atomic, write_json, write_text
from .images import write_image

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring')
SHIFT = 4  # fractional bits of OpenCV's coordinates: sixteenths of a pixel, for smooth edges
MIN_CONTRAST = 90  # minimum Euclidean distance of a shape's colour from the background's mean, in 8-bit BGR
JPEG_QUALITY = 92
SPEC_FILE = 'shapes.json'  # the recipe, written into the folder of the set


@dataclass(frozen=True)
class ShapesSpec:
    """The recipe of a set.

    ``train``, ``val`` and ``test`` are numbers of detection pictures, ``class_train`` and ``class_val`` numbers of classification
    pictures per class; ``size`` and ``class_size`` are the sides of the pictures in pixels.

    Raises:
        UserError: a number is too small.
    """

    seed: int = 0
    train: int = 320
    val: int = 64
    test: int = 64
    size: int = 320
    class_train: int = 64
    class_val: int = 16
    class_size: int = 112

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == 'seed' else 32 if name.endswith('size') else 1
            most = 8192 if name.endswith('size') else 10**6
            if not least <= value <= most:
                raise UserError(f'{name}={value}: give at least {least} and at most {most}.')


@dataclass(frozen=True)
class Shape:
    """A shape: class index, centre and radius of the circumscribed circle in pixels, angle in radians, BGR colour."""

    label: int
    centre: tuple[float, float]
    radius: float
    angle: float
    colour: tuple[int, int, int]

    def outline(self) -> np.ndarray:
        """Corners as (N, 2) floats in pixels, x then y; a circle and a ring are polygons with 64 corners."""
        name = CLASSES[self.label]
        corners = {'square': 4, 'triangle': 3, 'star': 10}.get(name, 64)
        angles = self.angle + np.arange(corners) * (2 * np.pi / corners)
        radii = np.full(corners, self.radius)
        if name == 'star':
            radii[1::2] *= 0.45
        return np.array(self.centre) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)

    def box(self) -> np.ndarray:
        """The tight box as (4,) floats in pixels, (x1, y1, x2, y2)."""
        corners = self.outline()
        return np.concatenate([corners.min(0), corners.max(0)])

    def draw(self, picture: np.ndarray) -> None:
        """Draw the shape into an (H, W, 3) uint8 picture, in place; the hole of a ring keeps the background."""
        centre = np.array(self.centre)
        outlines = [self.outline()]
        if CLASSES[self.label] == 'ring':
            outlines.append(centre + 0.55 * (outlines[0] - centre))
        points = [np.round((outline - 0.5) * 2**SHIFT).astype(np.int32) for outline in outlines]
        cv2.fillPoly(picture, points, self.colour, cv2.LINE_AA, SHIFT)


def draw_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """A (side, side, 3) uint8 BGR picture: a weakly saturated colour with blotches, a gradient or stripes, and noise."""
    base = rng.uniform(50, 205, 3)
    base += 0.5 * (base.mean() - base)
    blotches = cv2.resize(
        rng.standard_normal((rng.integers(3, 12),) * 2, np.float32), (side, side), interpolation=cv2.INTER_CUBIC
    )
    x = np.arange(side, dtype=np.float32) / side
    angle = rng.uniform(0, 2 * np.pi)
    along = x * float(np.cos(angle)) + x[:, None] * float(np.sin(angle))
    pattern = np.sin(float(2 * np.pi * rng.uniform(3, 14)) * along) if rng.random() < 0.5 else 2 * along
    light = rng.uniform(3, 14) * blotches + rng.uniform(3, 14) * pattern
    light += rng.uniform(2, 6) * rng.standard_normal((side, side), np.float32)
    return np.clip(base.astype(np.float32) + light[..., None], 0, 255).astype(np.uint8)


def draw_colour(rng: np.random.Generator, mean: np.ndarray) -> tuple[int, int, int]:
    """A random BGR colour with a distance of at least ``MIN_CONTRAST`` from the background's mean colour (3,)."""
    while True:
        colour = rng.integers(0, 256, 3)
        if np.linalg.norm(colour - mean) >= MIN_CONTRAST:
            blue, green, red = colour.tolist()
            return blue, green, red


def largest_overlap(box: np.ndarray, others: list[np.ndarray]) -> float:
    """The largest intersection of a box (4,) xyxy with another one, as a fraction of the smaller area of the two."""

    def area(b: np.ndarray) -> float:
        return float(np.prod(np.maximum(b[2:] - b[:2], 0)))

    shared = [
        area(np.concatenate([np.maximum(box[:2], o[:2]), np.minimum(box[2:], o[2:])])) / min(area(box), area(o)) for o in others
    ]
    return max(shared, default=0.0)


def place_shape(rng: np.random.Generator, label: int, background: np.ndarray, share: tuple[float, float]) -> Shape:
    """A shape of random size, angle, colour and position, completely inside the background.

    ``share`` is the least and the largest ratio of the diameter to the picture's side.
    """
    side, mean = background.shape[0], np.array(cv2.mean(background))[:3]
    radius = rng.uniform(*share) * side / 2
    x, y = rng.uniform(radius + 1, side - radius - 1, 2).tolist()
    return Shape(label, (x, y), radius, rng.uniform(0, 2 * np.pi), draw_colour(rng, mean))


def detection_picture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[Shape]]:
    """A (side, side, 3) uint8 picture of 1 to 4 shapes with little overlap, and the shapes."""
    picture = draw_background(rng, side)
    shapes: list[Shape] = []
    wanted, tries = rng.integers(1, 5), 0
    while len(shapes) < wanted and tries < 50:
        shape = place_shape(rng, int(rng.integers(len(CLASSES))), picture, (0.2, 0.55))
        if largest_overlap(shape.box(), [other.box() for other in shapes]) <= 0.25:
            shapes.append(shape)
        tries += 1
    for shape in shapes:
        shape.draw(picture)
    return picture, shapes


def class_picture(rng: np.random.Generator, side: int, label: int) -> np.ndarray:
    """A (side, side, 3) uint8 picture of one large shape of the class."""
    picture = draw_background(rng, side)
    place_shape(rng, label, picture, (0.5, 0.9)).draw(picture)
    return picture


def write_detection_split(root: Path, split: str, spec: ShapesSpec) -> None:
    """Write ``images/{split}_NNNNN.jpg`` and ``annotations/{split}.json`` in COCO format under the root."""
    stream = ('train', 'val', 'test').index(split)
    images, annotations = [], []
    for index in range(getattr(spec, split)):
        picture, shapes = detection_picture(np.random.default_rng([spec.seed, stream, index]), spec.size)
        name = f'{split}_{index:05d}.jpg'
        write_image(root / 'images' / name, picture, JPEG_QUALITY)
        images.append({'id': index + 1, 'file_name': name, 'width': spec.size, 'height': spec.size})
        annotations += [coco_annotation(shape, index + 1) for shape in shapes]
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    categories = [{'id': i, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES, 1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    write_json(root / 'annotations' / f'{split}.json', content, indent=None)


def coco_annotation(shape: Shape, image_id: int) -> dict:
    """A COCO annotation of the shape's tight box, rounded to hundredths of a pixel; without its id."""
    x1, y1, x2, y2 = shape.box().tolist()
    w, h = round(x2 - x1, 2), round(y2 - y1, 2)
    bbox = [round(x1, 2), round(y1, 2), w, h]
    return {'image_id': image_id, 'category_id': shape.label + 1, 'bbox': bbox, 'area': round(w * h, 2), 'iscrowd': 0}


def write_class_folder(root: Path, spec: ShapesSpec) -> None:
    """Write ``{train,val}/<class>/NNNNN.jpg`` under the root, the layout of ImageNet."""
    for stream, split in enumerate(('train', 'val'), 3):
        for label, name in enumerate(CLASSES):
            for index in range(getattr(spec, f'class_{split}')):
                rng = np.random.default_rng([spec.seed, stream, label, index])
                picture = class_picture(rng, spec.class_size, label)
                write_image(root / split / name / f'{index:05d}.jpg', picture, JPEG_QUALITY)


def make_shapes(out: str | os.PathLike, spec: ShapesSpec | None = None) -> Iterator[str]:
    """Write ``out/coco`` (annotations/{train,val,test}.json, images/) and ``out/imagenet`` ({train,val}/<class>/*.jpg).

    A generator: it yields the name of each part before drawing it, so that a tool can show progress; iterate to its end. The set
    is written to a temporary folder next to ``out``, which is renamed when complete. A set of the same recipe is kept.

    Raises:
        UserError: ``out`` exists and contains something else, or cannot be written.
    """
    spec, out = spec or ShapesSpec(), Path(out)
    recipe = json.dumps(asdict(spec), indent=2) + '\n'
    if (out / SPEC_FILE).is_file() and (out / SPEC_FILE).read_text() == recipe:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out} exists and contains something other than this set of shapes: give another folder or remove it.')
    with atomic(out) as folder:
        try:
            yield from _write_set(folder, spec)
            write_text(folder / SPEC_FILE, recipe)
        except BaseException:  # GeneratorExit and ctrl-C too: an incomplete set is removed
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write_set(folder: Path, spec: ShapesSpec) -> Iterator[str]:
    for split in ('train', 'val', 'test'):
        yield f'coco {split}: {getattr(spec, split)} pictures'
        write_detection_split(folder / 'coco', split, spec)
    yield f'imagenet: {len(CLASSES) * (spec.class_train + spec.class_val)} pictures'
    write_class_folder(folder / 'imagenet', spec)

"""A built-in data set of drawn shapes: something a TinyNet learns in minutes on a CPU, with nothing to download.

Not from the paper. Every picture is drawn from its own random stream, seeded by (seed, split, index): a set is byte-identical
for a seed (under the same NumPy and OpenCV), and a larger set begins with the smaller one's pictures. The sizes (1 to 4 shapes
a picture, circles around them of 20 to 55 % of the side, boxes that overlap by at most a quarter of the smaller one) were
chosen so that a TinyNet-E SSDLite at 320 px learns it from scratch.
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

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring')
SHIFT = 4  # OpenCV's fixed-point bits: coordinates in sixteenths of a pixel, for smooth edges
MIN_CONTRAST = 90  # least distance of a shape's colour from the background's mean, in 8-bit BGR
SPEC_FILE = 'shapes.json'  # the recipe, written beside the pictures


@dataclass(frozen=True)
class ShapesSpec:
    """The recipe of a set: pictures of each detection split, pictures a class of the classification folder, and their sides."""

    seed: int = 0
    train: int = 320
    val: int = 64
    test: int = 64
    size: int = 320
    class_train: int = 64
    class_val: int = 16
    class_size: int = 112

    def __post_init__(self):
        for name, value in asdict(self).items():
            least = 0 if name == 'seed' else 32 if name.endswith('size') else 1
            if value < least:
                raise UserError(f'{name}={value}: give at least {least}.')


@dataclass(frozen=True)
class Shape:
    """A shape to draw: class index, centre and radius of the circumscribed circle in pixels, angle in radians, BGR colour."""

    label: int
    centre: tuple[float, float]
    radius: float
    angle: float
    colour: tuple[int, int, int]

    def outline(self) -> np.ndarray:
        """Corners as (N, 2) floats, x then y; a circle and a ring are polygons of 64 corners."""
        name = CLASSES[self.label]
        corners = {'square': 4, 'triangle': 3, 'star': 10}.get(name, 64)
        angles = self.angle + np.arange(corners) * (2 * np.pi / corners)
        radii = np.full(corners, self.radius)
        if name == 'star':
            radii[1::2] *= 0.45
        return np.array(self.centre) + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)

    def box(self) -> np.ndarray:
        """The tight box, (x1, y1, x2, y2)."""
        corners = self.outline()
        return np.concatenate([corners.min(0), corners.max(0)])

    def draw(self, picture: np.ndarray) -> None:
        """Paint the shape into an (H, W, 3) uint8 picture; through a ring's hole the background shows."""
        centre = np.array(self.centre)
        outlines = [self.outline()]
        if CLASSES[self.label] == 'ring':
            outlines.append(centre + 0.55 * (outlines[0] - centre))
        points = [np.round((outline - 0.5) * 2**SHIFT).astype(np.int32) for outline in outlines]
        cv2.fillPoly(picture, points, self.colour, cv2.LINE_AA, SHIFT)


def draw_background(rng: np.random.Generator, side: int) -> np.ndarray:
    """A (side, side, 3) uint8 picture: a muted colour with blotches, a gradient or stripes, and grain."""
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
    """A BGR colour that stands off from the background's mean colour."""
    while True:
        colour = rng.integers(0, 256, 3)
        if np.linalg.norm(colour - mean) >= MIN_CONTRAST:
            return tuple(colour.tolist())


def share_hidden(box: np.ndarray, others: list[np.ndarray]) -> float:
    """The largest intersection of the box with another, as a share of the smaller one of both."""

    def area(b):
        return np.prod(np.maximum(b[2:] - b[:2], 0))

    shared = [
        area(np.concatenate([np.maximum(box[:2], o[:2]), np.minimum(box[2:], o[2:])])) / min(area(box), area(o)) for o in others
    ]
    return max(shared, default=0.0)


def place_shape(rng: np.random.Generator, label: int, background: np.ndarray, share: tuple[float, float]) -> Shape:
    """A shape of random size, turn, colour and place, wholly inside; ``share`` bounds its diameter over the picture's side."""
    side, mean = background.shape[0], np.array(cv2.mean(background)[:3])
    radius = rng.uniform(*share) * side / 2
    centre = tuple(rng.uniform(radius + 1, side - radius - 1, 2).tolist())
    return Shape(label, centre, radius, rng.uniform(0, 2 * np.pi), draw_colour(rng, mean))


def detection_picture(rng: np.random.Generator, side: int) -> tuple[np.ndarray, list[Shape]]:
    """A picture of 1 to 4 shapes that hide little of each other, and the shapes."""
    picture = draw_background(rng, side)
    shapes: list[Shape] = []
    wanted, tries = rng.integers(1, 5), 0
    while len(shapes) < wanted and tries < 50:
        shape = place_shape(rng, int(rng.integers(len(CLASSES))), picture, (0.2, 0.55))
        if share_hidden(shape.box(), [other.box() for other in shapes]) <= 0.25:
            shapes.append(shape)
        tries += 1
    for shape in shapes:
        shape.draw(picture)
    return picture, shapes


def class_picture(rng: np.random.Generator, side: int, label: int) -> np.ndarray:
    """A picture of one large shape of the class."""
    picture = draw_background(rng, side)
    place_shape(rng, label, picture, (0.5, 0.9)).draw(picture)
    return picture


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write through an encoder call, so that a full disk raises instead of returning False as ``cv2.imwrite`` does."""
    path.write_bytes(cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def write_detection_split(root: Path, split: str, spec: ShapesSpec) -> None:
    """Write ``images/{split}_NNNNN.jpg`` and ``annotations/{split}.json`` in COCO's format under the root."""
    stream = ('train', 'val', 'test').index(split)
    images, annotations = [], []
    for index in range(getattr(spec, split)):
        picture, shapes = detection_picture(np.random.default_rng([spec.seed, stream, index]), spec.size)
        name = f'{split}_{index:05d}.jpg'
        write_jpeg(root / 'images' / name, picture)
        images.append({'id': index + 1, 'file_name': name, 'width': spec.size, 'height': spec.size})
        annotations += [coco_annotation(shape, index + 1) for shape in shapes]
    for number, annotation in enumerate(annotations, 1):
        annotation['id'] = number
    categories = [{'id': i, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES, 1)]
    content = {'images': images, 'annotations': annotations, 'categories': categories}
    (root / 'annotations' / f'{split}.json').write_text(json.dumps(content))


def coco_annotation(shape: Shape, image_id: int) -> dict:
    """A COCO annotation of the shape's tight box, in hundredths of a pixel."""
    x1, y1, x2, y2 = shape.box().tolist()
    w, h = round(x2 - x1, 2), round(y2 - y1, 2)
    bbox = [round(x1, 2), round(y1, 2), w, h]
    return {'image_id': image_id, 'category_id': shape.label + 1, 'bbox': bbox, 'area': round(w * h, 2), 'iscrowd': 0}


def write_class_folder(root: Path, spec: ShapesSpec) -> None:
    """Write ``{train,val}/<class>/NNNNN.jpg`` under the root, the layout of ImageNet."""
    for stream, split in enumerate(('train', 'val'), 3):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(getattr(spec, f'class_{split}')):
                rng = np.random.default_rng([spec.seed, stream, label, index])
                write_jpeg(folder / f'{index:05d}.jpg', class_picture(rng, spec.class_size, label))


def make_shapes(out: str | os.PathLike, spec: ShapesSpec | None = None) -> Iterator[str]:
    """Write ``out/coco`` (annotations/{train,val,test}.json, images/) and ``out/imagenet`` ({train,val}/<class>/*.jpg).

    A generator: it yields the name of each part it is about to draw, so that a tool can show progress; run it to its end. The set
    is drawn in a folder beside ``out`` and renamed when whole. Where ``out`` holds the same recipe's set, nothing happens.

    Raises:
        UserError: ``out`` exists and holds something else.
    """
    spec, out = spec or ShapesSpec(), Path(out)
    recipe = json.dumps(asdict(spec), indent=2) + '\n'
    if (out / SPEC_FILE).is_file() and (out / SPEC_FILE).read_text() == recipe:
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f'{out} exists and holds something other than this set of shapes: give another folder or remove it.')
    draft = out.parent / f'.{out.name}.part'
    shutil.rmtree(draft, ignore_errors=True)
    for folder in ('annotations', 'images'):
        (draft / 'coco' / folder).mkdir(parents=True)
    for split in ('train', 'val', 'test'):
        yield f'coco {split}: {getattr(spec, split)} pictures'
        write_detection_split(draft / 'coco', split, spec)
    yield f'imagenet: {len(CLASSES) * (spec.class_train + spec.class_val)} pictures'
    write_class_folder(draft / 'imagenet', spec)
    (draft / SPEC_FILE).write_text(recipe)
    os.replace(draft, out)

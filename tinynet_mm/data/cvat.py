"""Read an export of CVAT in the format "CVAT for images 1.1": ``annotations.xml`` with ``images/``.

The subsets of a project are splits. A polygon, an ellipse, a mask and a rotated box become the box around them; points,
polylines, cuboids and skeletons are left out and counted.
"""

import math
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import UserError, listed
from ..files import check_names
from .records import Box, Images, Picture, Source, around, numbers, picture, read_xml, split_folders, split_of, used_classes

KIND = 'CVAT for images'
LOOKED_FOR = 'CVAT: annotations.xml with images/'
FILE = 'annotations.xml'
OMITTED = ('points', 'polyline', 'cuboid', 'skeleton')


def files_in(root: Path) -> dict[str, Path]:
    """The exported file of each split; a file directly in ``root`` is ``train``, and its subsets are splits."""
    if (root / FILE).is_file():
        return dict(train=root / FILE)
    return {split: folder / FILE for split, folder in split_folders(root).items() if (folder / FILE).is_file()}


def finds(root: Path) -> bool:
    """Whether the folder has this format."""
    return bool(files_in(root))


def read(root: Path) -> Source:
    """Read the set.

    Raises:
        UserError: a file that is not XML, is an export of a video, or has a wrong entry; files with different labels; or an image
            that is missing or outside.
    """
    splits: dict[str, list[Picture]] = {}
    declared: dict[Path, tuple[str, ...]] = {}
    omitted: Counter[str] = Counter()
    for split, path in files_in(root).items():
        tree = read_xml(path)
        if tree.tag != 'annotations' or tree.find('track') is not None:
            raise UserError(f'{path} is not an export in the format "CVAT for images 1.1"; export the task again in this format.')
        declared[path] = check_names([name.text.strip() for name in tree.iterfind('./meta//label/name') if name.text], path)
        folder = path.parent
        images = Images(root, [folder / 'images', *_below(folder / 'images'), folder])
        for entry in tree.iter('image'):
            found = _picture(entry, path, images, omitted)
            splits.setdefault(split_of(entry.get('subset')) or split, []).append(found)
    classes = _common_labels(declared) or used_classes(splits)
    _check_declared(splits, classes)
    sentences = [f'{count} shapes of the type {kind} left out' for kind, count in omitted.items()]
    return Source(KIND, classes, splits, omitted=tuple(sentences))


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.is_dir()) if folder.is_dir() else []


def _common_labels(declared: Mapping[Path, Sequence[str]]) -> tuple[str, ...]:
    """The labels of the tasks, in the order of the first file; none if the files declare none.

    Raises:
        UserError: files with different labels.
    """
    named = [(path, found) for path, found in declared.items() if found]
    first, labels = named[0] if named else (None, ())
    for path, found in named:
        if differing := sorted(set(labels) ^ set(found)):
            a, b = (first, path) if differing[0] in labels else (path, first)
            raise UserError(f'{a} has the label {differing[0]!r}, which is not in {b}; export both tasks with the same labels.')
    return tuple(dict.fromkeys(labels))


def _check_declared(splits: Mapping[str, list[Picture]], classes: Sequence[str]) -> None:
    for image in (image for images in splits.values() for image in images):
        if unknown := sorted({box.label for box in image.boxes} - set(classes)):
            raise UserError(
                f'{image.source}: {image.path.name} has the label {unknown[0]!r}, which is not one of the labels of the task, '
                f'{listed(classes, 10)}; export the task again.'
            )


def _picture(entry: ElementTree.Element, path: Path, images: Images, omitted: Counter[str]) -> Picture:
    name, subset = entry.get('name') or '', entry.get('subset')
    image = (images.find(f'{subset}/{name}') if subset and name else None) or images.require(path, name)
    omitted.update(shape.tag for shape in entry if shape.tag in OMITTED)
    boxes = [box for shape in entry if (box := _box(shape, f'{path}, image {name}'))]
    return picture(image, (entry.get('width'), entry.get('height')), boxes, path)


def _box(shape: ElementTree.Element, where: str) -> Box | None:
    """The box of a shape; None for an element that has none."""
    if shape.tag not in ('box', 'polygon', 'ellipse', 'mask'):
        return None
    label = shape.get('label')
    if not label:
        raise UserError(f'{where}: a {shape.tag} has no label; export the task again.')
    where = f'{where} ({label})'

    def values(*names: str) -> list[float]:
        return numbers([shape.get(name) for name in names], where)

    if shape.tag == 'polygon':
        pairs = [point.split(',') for point in (shape.get('points') or '').split(';')]
        corners = [(x, y) for x, y in (numbers((pair + [''])[:2], where) for pair in pairs)]
    elif shape.tag == 'mask':
        left, top, width, height = values('left', 'top', 'width', 'height')
        corners = [(left, top), (left + width, top + height)]
    elif shape.tag == 'ellipse':
        x, y, rx, ry = values('cx', 'cy', 'rx', 'ry')
        corners = [(x - rx, y - ry), (x + rx, y + ry)]
    else:
        x1, y1, x2, y2 = values('xtl', 'ytl', 'xbr', 'ybr')
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    (angle,) = numbers([shape.get('rotation', 0)], where)
    return around(label, _rotated(corners, angle) if angle else corners)


def _rotated(corners: list[tuple[float, float]], degrees: float) -> list[tuple[float, float]]:
    """Corners turned clockwise around the middle of their box."""
    box = around('', corners)
    x0, y0 = (box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return [(x0 + (x - x0) * cosine - (y - y0) * sine, y0 + (x - x0) * sine + (y - y0) * cosine) for x, y in corners]

"""Read a set of LabelMe: one JSON file for each image, next to it or in a folder of its own.

A polygon, a mask, a circle and an oriented rectangle become the box around them; points and lines are left out and counted.
"""

import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..errors import UserError, counted
from ..files import read_json
from .records import Box, Images, Picture, Source, around, files_in, left_out, numbers, picture, split_folders, used_classes

KIND = 'LabelMe'
LOOKED_FOR = 'LabelMe: *.json next to the images, also in train/, valid/ and test/'
FOLDERS = ('', 'annotations', 'Annotations', 'labels', 'json', 'images')
OMITTED = ('point', 'points', 'line', 'linestrip')


def folder_in(root: Path) -> Path | None:
    """The folder of LabelMe's files in ``root``; None if it has none."""
    for folder in (root / name for name in FOLDERS):
        if any(_is_labelme(path) for path in islice((path for path in folder.glob('*.json') if path.is_file()), 3)):
            return folder
    return None


def _is_labelme(path: Path) -> bool:
    """Whether a file has the keys of LabelMe; the start of a large file is enough for a broken one."""
    with path.open('rb') as file:
        start = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        end = file.read()
    return b'"shapes"' in start or b'"imagePath"' in start or b'"imagePath"' in end


def places(root: Path) -> dict[str, tuple[Path, Path]]:
    """The folder of each split and that of its JSON files; a set without folders for splits is ``train``."""
    if found := folder_in(root):
        return dict(train=(root, found))
    return {split: (folder, found) for split, folder in split_folders(root).items() if (found := folder_in(folder))}


def finds(root: Path) -> bool:
    """Whether the folder has this format."""
    return bool(places(root))


def read(root: Path) -> Source:
    """Read the set.

    Raises:
        UserError: a file that is not JSON, a shape without points or with a wrong one, or an image that is missing or outside.
    """
    omitted: Counter[str] = Counter()
    splits, others = {}, 0
    for split, (part, folder) in places(root).items():
        images = Images(root, [folder, part, part / 'images', part / 'JPEGImages'])
        splits[split] = list(_pictures(folder, images, omitted))
        others += images.others(splits[split])
    sentences = [f'{counted(count, "shape")} of the type {kind} left out' for kind, count in omitted.items()]
    return Source(KIND, used_classes(splits), splits, omitted=(*sentences, *left_out(others, 'JSON')))


def _pictures(folder: Path, images: Images, omitted: Counter[str]) -> Iterator[Picture]:
    """The images of the JSON files in ``folder``."""
    for path in files_in(folder, '*.json'):
        content = read_json(path)
        if not (isinstance(content, dict) and isinstance(content.get('shapes'), list)):
            continue  # JSON of another tool
        named = content.get('imagePath')
        image = images.require(path, named if isinstance(named, str) else None, path.stem)
        shapes = [(shape, f'{path}, shape {number}') for number, shape in enumerate(content['shapes'], 1)]
        found = [box for shape, where in shapes if (box := _box(shape, where, omitted))]
        yield picture(image, (content.get('imageWidth'), content.get('imageHeight')), found, path)


def _box(shape: object, where: str, omitted: Counter[str]) -> Box | None:
    """The box of a shape; None for a point or a line, which is counted."""
    if not isinstance(shape, dict) or not isinstance(shape.get('label'), str):
        raise UserError(f'{where} has no text as "label"; add it, or remove the shape.')
    kind, points = shape.get('shape_type') or 'polygon', shape.get('points')
    if kind in OMITTED:
        omitted[kind] += 1
        return None
    if not (isinstance(points, list) and len(points) >= 2 and all(isinstance(p, list) and len(p) == 2 for p in points)):
        raise UserError(f'{where} ({shape["label"]}) has no list of two or more points; correct it, or remove the shape.')
    corners = [(x, y) for x, y in (numbers(point, f'{where} ({shape["label"]})') for point in points)]
    if kind == 'circle':  # its centre and a point on it
        (x, y), radius = corners[0], math.dist(*corners[:2])
        corners = [(x - radius, y - radius), (x + radius, y + radius)]
    return around(shape['label'], corners)

"""Read a set in YOLO format: one text file for each image with rows ``class x y width height`` in fractions of the image.

The layouts are ``images/{train,val,test}`` with ``labels/``, ``{train,valid,test}/images`` with ``labels/`` (Roboflow), and
``images/`` with ``labels/``. Labels may also be next to their images: in these folders, in ``{train,valid,test}``, in CVAT's
``obj_{train,valid,test}_data``, or in the folder of the data set itself (labelImg). The paths in data.yaml are often wrong in an
export, so the usual folders are tried after them; they cannot leave the folder of the data set. An image without a label file
has no boxes. A row of a polygon becomes its box; of a pose, the box is read.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from ..errors import UserError, listed
from ..files import check_names
from .folders import IMAGE_SUFFIXES, images_in
from .images import header_size
from .records import SPELLINGS, Box, Picture, Source, is_inside, numbers, picture, read_lines

KIND = 'YOLO'
LOOKED_FOR = (
    'YOLO: data.yaml with images/ and labels/, or {train,valid,test}/images and labels/, or images, labels and '
    'classes.txt in one folder'
)
FILES = ('data.yaml', 'data.yml', 'dataset.yaml', 'dataset.yml')
NAMES = ('classes.txt', 'obj.names', 'labels/classes.txt', 'images/classes.txt', 'train/classes.txt', 'train/_darknet.labels')
TINY = 0.01  # fraction of the image by which a value may exceed it: tools round


def finds_file(root: Path) -> bool:
    """Whether the folder has a data.yaml."""
    return data_file(root) is not None


def finds_folders(root: Path) -> bool:
    """Whether the folder has label files in one of the layouts."""
    folders = [folder for found in usual_folders(root).values() for folder in found]
    return any(label_file(path).is_file() for folder in folders for path in images_in(folder))


def data_file(root: Path) -> Path | None:
    """The data.yaml of a set; also the only YAML file with names."""
    for path in (root / name for name in FILES):
        if path.is_file():
            return path
    found = [path for pattern in ('*.yaml', '*.yml') for path in root.glob(pattern) if path.is_file()]
    others = [path for path in found if b'names' in path.read_bytes()]
    return others[0] if len(others) == 1 else None


def read(root: Path) -> Source:
    """Read the set.

    Raises:
        UserError: no class names, no images, images outside of the folder, or a wrong row; the message names the file and the
            line.
    """
    path = data_file(root)
    content = read_yaml(path) if path else {}
    classes, names_file = class_names(root, path, content)
    folders = split_sources(root, content)
    splits = {split: [*images_of(found, root)] for split, found in folders.items()}
    pose = 'kpt_shape' in content
    read_splits = {split: [_picture(image, classes, names_file, pose) for image in images] for split, images in splits.items()}
    for split, images in read_splits.items():
        if images and not any(image.source != image.path for image in images):
            raise UserError(
                f'{images[0].path} and the other images of {split} have no label file: '
                f'{label_file(images[0].path)} is missing; copy the labels there.'
            )
    lists = [place for found in folders.values() for place in found if place.is_file()]
    return Source(KIND, classes, read_splits, (names_file, *lists))


class Loader(yaml.SafeLoader):
    """YAML without aliases of lists and dicts: nine lines of them have a billion entries."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Read a part of the file; raises ``ComposerError`` for such an alias."""
        is_alias, mark = self.check_event(yaml.AliasEvent), self.peek_event().start_mark
        node = super().compose_node(parent, index)
        if is_alias and isinstance(node, yaml.CollectionNode):
            raise yaml.composer.ComposerError(None, None, 'an alias of a list or dict: write it out', mark)
        return node


def read_yaml(path: Path) -> dict:
    """The content of a data.yaml.

    Raises:
        UserError: the file is not YAML with keys, or has aliases of lists or dicts.
    """
    try:
        content = yaml.load(path.read_bytes(), Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f'{path} is not YAML ({" ".join(str(error).split())}); correct it.') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} has no keys such as names, train and val; export the set again.')
    return content


def class_names(root: Path, path: Path | None, content: dict) -> tuple[tuple[str, ...], Path]:
    """The names of the classes by index, and the file that they are from.

    Raises:
        UserError: no names, or names that are not a list or a dict of indices from 0, or another number of them than ``nc``; or a
            name that is too long or that MMEngine evaluates.
    """
    listing = next((root / name for name in NAMES if (root / name).is_file()), None)
    names = content.get('names')
    if names is None and listing:
        return check_names([line for line in read_lines(listing) if line], listing), listing
    if path is None:
        raise UserError(f'{root} has YOLO labels, but no class names: add data.yaml with names, or classes.txt.')
    if isinstance(names, dict) and all(re.fullmatch('[0-9]{1,9}', str(key)) for key in names):
        names = dict(sorted((int(key), name) for key, name in names.items()))
        names = list(names.values()) if list(names) == list(range(len(names))) else None
    if not isinstance(names, list) or not names or any(isinstance(name, list | dict) for name in names):
        raise UserError(f'{path} has no class names: "names" must be a list, or numbers from 0 with a name each; add them.')
    if isinstance(content.get('nc'), int) and content['nc'] != len(names):
        raise UserError(f'{path}: nc is {content["nc"]}, but there are {len(names)} names; correct one of them.')
    return check_names([str(name).strip() for name in names], path), path


def usual_folders(root: Path) -> dict[str, list[Path]]:
    """The image folder of each split in the usual layouts; ``images/`` without splits, or ``root`` itself, is ``train``."""
    found = {}
    for split, names in SPELLINGS.items():
        folders = [folder for name in names for folder in (root / 'images' / name, root / name / 'images') if folder.is_dir()]
        beside = [root / folder for name in names for folder in (name, f'obj_{name}_data')]
        found[split] = [*folders, *(folder for folder in beside if _has_labels(folder))][:1]
    found = {split: folders for split, folders in found.items() if folders}
    single = [root / 'images'] if (root / 'images').is_dir() else [root] if _has_labels(root) else []
    return found or ({'train': single} if single else {})


def _has_labels(folder: Path) -> bool:
    """Whether an image directly in the folder has a label file next to it."""
    return any(path.suffix.lower() in IMAGE_SUFFIXES and path.with_suffix('.txt').is_file() for path in folder.glob('*.*'))


def split_sources(root: Path, content: dict) -> dict[str, list[Path]]:
    """The image folders, or files that list images, of each split: those of data.yaml, or else the usual ones.

    A usual folder for a split that data.yaml does not name is left out if another split has its images.

    A val that is equal to train is left out, because a validation on training images says nothing.

    Raises:
        UserError: no images for train, or for a set without train; or images outside of ``root`` only.
    """
    usual, found = usual_folders(root), {}
    for split in SPELLINGS:
        entries = _entries(content, split)
        places = [place for entry in entries if (place := locate(root, entry, content.get('path')))]
        outside = [place for place in places if not is_inside(root, place)]
        found[split] = places if places and len(places) == len(entries) and not outside else usual.get(split, [])
        if outside and not found[split]:
            above = _above(outside[0], content.get('path'))
            raise UserError(
                f'{root}: {split} in its YAML file is {outside[0]}, which is outside of this folder; copy the YAML file '
                f'to {above} and pass that folder as --data-root.'
            )
    found = {split: places for split, places in found.items() if places}
    named = [place for split, places in found.items() if _entries(content, split) for place in places]
    found = {split: places for split, places in found.items() if _entries(content, split) or not _overlaps(places, named)}
    if found.get('val') == found.get('train'):
        found.pop('val', None)
    if not found or ('train' not in found and content.get('train')):
        paths = listed([repr(entry) for entry in _entries(content, 'train')]) or 'no path'
        missing = f'train is {paths}, which is not there, and ' if content.get('train') else ''
        raise UserError(f'{root}: {missing}none of images/train/, train/images/ and images/ exists; copy the images there.')
    return found


def _entries(content: dict, split: str) -> list[str]:
    """The paths of a split in data.yaml."""
    given = content.get(split) or (content.get('valid') if split == 'val' else None)
    return [entry for entry in (given if isinstance(given, list) else [given]) if entry and isinstance(entry, str)]


def _overlaps(folders: list[Path], named: list[Path]) -> bool:
    """Whether a usual folder is, contains or is inside a folder that data.yaml names for another split, or it names lists."""
    pairs = [(folder, place) for folder in folders for place in named]
    return any(place.is_file() or is_inside(place, folder) or is_inside(folder, place) for folder, place in pairs)


def _above(place: Path, base: object) -> Path:
    """The folder that ``path`` in data.yaml names if it contains the place, or else the folder of the place."""
    named = Path(str(base or place.parent))
    return named if is_inside(named, place) else place.parent


def locate(root: Path, entry: str, base: object) -> Path | None:
    """The folder or list file of a path in data.yaml; None if it is in none of the places where exports put it.

    A place outside of ``root`` is returned only if there is none inside.
    """
    entry = entry.replace('\\', '/')
    inside = entry.lstrip('./')
    bases = [root / base, Path(base)] if base and isinstance(base, str) else []
    candidates = [*(folder / entry for folder in bases), root / inside, root / entry]  # Roboflow writes ../ for the root itself
    candidates += [root / '/'.join(inside.split('/')[-count:]) for count in (3, 2)]
    existing = [path for path in candidates if os.path.isdir(path) or os.path.isfile(path)]
    return next((path for path in existing if is_inside(root, path)), next(iter(existing), None))


def images_of(places: Iterable[Path], root: Path) -> Iterator[Path]:
    """The images of folders, with their sub-folders, and of files that list images.

    Raises:
        UserError: a file lists an image that is missing, or outside of the data set ``root``.
    """
    for place in places:
        if place.is_dir():
            found = images_in(place)
            yield from (path for path in found if path.parent == place) if place.samefile(root) else found  # not our own pictures
            continue
        for number, line in enumerate(read_lines(place), 1):
            found = [path for path in (place.parent / line, Path(line)) if line and os.path.isfile(path)]
            if line and not found:
                raise UserError(f'{place}, line {number}: no image {line}; copy it there, or remove the line.')
            image = next((path for path in found if is_inside(root, path)), None)
            if found and image is None:
                raise UserError(f'{place}, line {number}: {line} is outside of {root}; copy it there and correct the line.')
            if image:
                yield image


def label_file(image: Path) -> Path:
    """The label file of an image: in ``labels`` instead of the last ``images`` of its path, or else next to it."""
    parts = list(image.with_suffix('.txt').parts)
    beside = image.with_suffix('.txt')
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == 'images':
            other = Path(*parts[:index], 'labels', *parts[index + 1 :])
            return beside if not other.is_file() and beside.is_file() else other
    return beside


def _picture(image: Path, classes: tuple[str, ...], names_file: Path, pose: bool) -> Picture:
    labels = label_file(image)
    if not labels.is_file():
        return picture(image, (), (), image)
    width, height = header_size(image)
    boxes = []
    for number, line in enumerate(read_lines(labels), 1):
        if line:
            label, (x1, y1, x2, y2) = parse_row(line.split(), f'{labels}, line {number}', len(classes), names_file, pose)
            boxes.append(Box(classes[label], x1 * width, y1 * height, x2 * width, y2 * height))
    return picture(image, (width, height), boxes, labels)


def parse_row(fields: list[str], where: str, count: int, names_file: Path, pose: bool) -> tuple[int, list[float]]:
    """The class of a row and its box as fractions of the image, (x1, y1, x2, y2).

    Raises:
        UserError: a wrong number of values, a class that is not one of ``count``, or values that are not from 0 to 1.
    """
    if len(fields) < 5 or (len(fields) > 5 and not pose and (len(fields) % 2 == 0 or len(fields) < 7)):
        raise UserError(
            f'{where} has {len(fields)} numbers: a box has 5 (class, x, y, width, height), a polygon an odd number from 7; '
            'correct the row.'
        )
    label, *values = numbers(fields, where)
    if not label.is_integer() or not 0 <= label < count:
        raise UserError(f'{where}: class {fields[0]}, but {names_file} has {count} names, 0 to {count - 1}; correct one of them.')
    values = values[:4] if pose else values
    if outside := [value for value in values if not -TINY <= value <= 1 + TINY]:
        raise UserError(
            f'{where}: {outside[0]:g} is not a fraction of the image from 0 to 1; divide pixels by the sides of the image.'
        )
    if len(values) > 4:
        corners = [min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])]
    else:
        x, y, w, h = values
        corners = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    return int(label), [clip(value) for value in corners]


def clip(value: float) -> float:
    """A fraction from 0 to 1; one that exceeds this by more than rounding is kept, and the data check reports it."""
    return min(max(value, 0.0), 1.0) if -TINY <= value <= 1 + TINY else value

"""Read a set in Pascal VOC format: one XML file for each image.

The layouts are that of VOC (``Annotations/*.xml``, ``JPEGImages/`` or ``images/``, and ``ImageSets/Main/{train,val,test}.txt`` or
no lists) and folders ``train``, ``valid`` and ``test`` with XML files next to the images (Roboflow) or in such a layout.

Pixels of VOC count from 1, and the last one belongs to the box: (1, 1, W, H) is a complete image. Several tools write the usual
coordinates instead, from 0 and with fractions; a set with a 0 or a fraction is read so. A ``difficult`` object is an object.
"""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .folders import IMAGE_SUFFIXES
from .records import (
    SPELLINGS,
    Box,
    Images,
    Picture,
    Source,
    files_in,
    is_inside,
    left_out,
    numbers,
    picture,
    read_lines,
    read_xml,
    split_folders,
    used_classes,
)

KIND = 'Pascal VOC'
LOOKED_FOR = 'Pascal VOC: Annotations/*.xml, or *.xml next to the images, also in train/, valid/ and test/'
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


@dataclass(frozen=True)
class Place:
    """A folder with XML files, and the folders in which their images can be."""

    root: Path
    annotations: Path

    def images(self, root: Path) -> Images:
        """The images of this place in the data set ``root``."""
        inside = [self.root / name for name in ('JPEGImages', 'images', 'Images')]
        return Images(root, [*inside, self.annotations, self.root])


def place_in(root: Path) -> Place | None:
    """The folder of XML files in ``root``; None if it has none."""
    for folder in (root / 'Annotations', root / 'annotations', root / 'images', root):
        first = next((path for path in folder.glob('*.xml') if path.is_file()), None) if folder.is_dir() else None
        if first is not None and not _is_other_xml(first):
            return Place(root, folder)
    return None


def _is_other_xml(path: Path) -> bool:
    """Whether a file is XML of another kind; a broken file counts as VOC, so that its reader reports it."""
    try:
        return ElementTree.parse(path).getroot().tag != 'annotation'
    except (ElementTree.ParseError, ValueError, LookupError):
        return False


def places(root: Path) -> dict[str, Place]:
    """The places of a set by split; the only place of a set without folders for splits is ``train``."""
    if found := place_in(root):
        return dict(train=found)
    return {split: found for split, folder in split_folders(root).items() if (found := place_in(folder))}


def finds(root: Path) -> bool:
    """Whether the folder has this format."""
    return bool(places(root))


def read(root: Path) -> Source:
    """Read the set.

    Raises:
        UserError: a file that is not XML or lacks a field, an image that is missing or outside of the set, or a split file that
            names one.
    """
    found = places(root)
    lists = split_lists(root) if place_in(root) else {}
    others = 0
    if lists:
        splits = {split: list(_named(found['train'], root, path)) for split, path in lists.items()}
    else:
        splits = {}
        for split, place in found.items():
            images = place.images(root)
            splits[split] = [_read_file(path, images) for path in files_in(place.annotations, '*.xml')]
            others += images.others(splits[split])
    boxes = [box for images in splits.values() for image in images for box in image.boxes]
    if all(value >= 1 and value.is_integer() for box in boxes for value in box[1:]):
        splits = {split: [_from_zero(image) for image in images] for split, images in splits.items()}
    return Source(KIND, used_classes(splits), splits, tuple(lists.values()), left_out(others, 'XML'))


def _from_zero(image: Picture) -> Picture:
    """The picture with coordinates that count from 0; the last pixel of a box belongs to it."""
    return image._replace(boxes=tuple(Box(box.label, box.x1 - 1, box.y1 - 1, box.x2, box.y2) for box in image.boxes))


def split_lists(root: Path) -> dict[str, Path]:
    """The files that list the images of each split; trainval replaces a missing train."""
    folder = root / 'ImageSets' / 'Main'
    names = dict(SPELLINGS, train=('train', 'trainval'))
    found = {split: [path for name in names[split] if (path := folder / f'{name}.txt').is_file()] for split in names}
    return {split: paths[0] for split, paths in found.items() if paths}


def _named(place: Place, root: Path, listing: Path) -> Iterator[Picture]:
    """The images that a split file names; one without an XML file has no boxes."""
    images = place.images(root)
    for number, line in enumerate(read_lines(listing), 1):
        stem = _stem(line)
        if (named := images.find(_without_suffix(line))) and named.stem == _without_suffix(line):
            stem = named.stem  # the name of an image that ends like a flag, such as "photo 1"
        path = place.annotations / f'{stem}.xml'
        if os.path.isfile(path) and is_inside(root, path):  # False for names that no file can have
            yield _read_file(path, images)
        elif image := images.find(stem):
            yield picture(image, (), (), image)
        elif stem:
            raise UserError(
                f'{listing}, line {number}: there is neither an image {stem} nor {path} in the data set; add it, or remove the '
                'line.'
            )


def _stem(line: str) -> str:
    """The name in a line of a split file without the suffix of an image, and without VOC's flag -1, 0 or 1 after it."""
    name, _, flag = line.rpartition(' ')
    return _without_suffix(name.strip() if flag in ('-1', '0', '1') and name else line)


def _without_suffix(name: str) -> str:
    return name.rpartition('.')[0] if name.lower().endswith(IMAGE_SUFFIXES) else name


def _read_file(path: Path, images: Images) -> Picture:
    """The image and the boxes of an XML file, in the coordinates of the file."""
    root = read_xml(path)
    image = images.require(path, root.findtext('filename') if images.find(path.stem) is None else path.stem)
    boxes = [_box(entry, f'{path}, object {number}') for number, entry in enumerate(root.iter('object'), 1)]
    return picture(image, [root.findtext(f'size/{side}') for side in ('width', 'height')], boxes, path)


def _box(entry: ElementTree.Element, where: str) -> Box:
    name, box = (entry.findtext('name') or '').strip(), entry.find('bndbox')
    if not name or box is None:
        raise UserError(f'{where} has no {"bndbox" if name else "name"}; add it, or remove the object.')
    x1, y1, x2, y2 = numbers([box.findtext(corner) for corner in CORNERS], f'{where} ({name})')
    if x2 < x1 or y2 < y1:
        raise UserError(f'{where} ({name}): the box ends at ({x2:g}, {y2:g}), before its start ({x1:g}, {y1:g}); correct it.')
    return Box(name, x1, y1, x2, y2)

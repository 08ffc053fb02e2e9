"""Images with their boxes, as the readers of VOC, YOLO, LabelMe and CVAT return them, and what these readers share.

Own readers, because the two libraries that were tried (November 2026, Python 3.11, numpy 2.2) do not fit:

* globox 2.9 needs only numpy, rich and tqdm, and is fast (364 VOC files in 0.22 s). But it keeps VOC's pixels that count from
  1, so each box loses a column and a row on the left and at the top; it accepts a YOLO class 99 of 3 and a box centre of 1.5,
  refuses an empty line or a polygon in a YOLO file, leaves out LabelMe's polygons, names no file in an error of a VOC set, and
  reads neither data.yaml nor splits.
* datumaro 1.13 needs Pillow below 13, where this package uses 13, and pandas, pyarrow, lxml and shapely (563 MB). It reads VOC
  only with the 20 classes of Pascal or a label map, refuses a CVAT export of a job, and does not read LabelMe's JSON.
"""

import math
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError, counted, listed
from ..files import check_names
from .folders import IMAGE_SUFFIXES
from .images import header_size

SPELLINGS = {'train': ('train', 'training'), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}


class Box(NamedTuple):
    """A box in pixels of its image, and the name of its class."""

    label: str
    x1: float
    y1: float
    x2: float
    y2: float


class Picture(NamedTuple):
    """An image file with its size in pixels and its boxes; ``source`` is the file that they come from."""

    path: Path
    width: int
    height: int
    boxes: tuple[Box, ...]
    source: Path


@dataclass(frozen=True)
class Source:
    """A data set in its own format.

    Attributes:
        kind: name of the format.
        classes: the class names in label order.
        splits: the images of each split; all of a set without splits are in ``train``.
        files: other files that were read, such as data.yaml.
        omitted: sentences on shapes that are not boxes and were left out.
    """

    kind: str
    classes: tuple[str, ...]
    splits: dict[str, list[Picture]]
    files: tuple[Path, ...] = ()
    omitted: tuple[str, ...] = ()


def is_inside(root: Path, path: str | Path) -> bool:
    """Whether a path is ``root`` or below it, without or with symbolic links replaced.

    A link in the data set to a file outside of it counts as inside: many sets have such links on purpose.
    """
    try:
        return any(_is_below(resolve(root), resolve(path)) for resolve in (os.path.abspath, os.path.realpath))
    except ValueError:  # a name that no file can have
        return False


def _is_below(root: str, path: str) -> bool:
    return path == root or path.startswith(os.path.join(root, ''))


class Images:
    """The image files in some folders, by name and by stem.

    Args:
        root: the data set, which contains all images.
        folders: folders, of which missing ones are skipped; in a name that occurs twice, the first folder is used.
    """

    def __init__(self, root: Path, folders: Iterable[Path]):
        self.root = root
        self.folders = list(dict.fromkeys(folder for folder in folders if folder.is_dir()))
        self._by_name: dict[str, Path] = {}
        self._by_stem: dict[str, Path] = {}
        for folder in self.folders:
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    self._by_name.setdefault(path.name, path)
                    self._by_stem.setdefault(path.stem, path)

    def others(self, pictures: Iterable[Picture]) -> int:
        """The number of images that are in a folder of one of the ``pictures`` and are none of them."""
        known = {image.path for image in pictures}
        folders = {path.parent for path in known}
        return sum(path.parent in folders and path not in known for path in self._by_name.values())

    def find(self, *names: str | None) -> Path | None:
        """The first of the names that is a file in the folders, compared with and without suffix; None if none is.

        Parts of a name before the last slash are a sub-folder if it exists; Windows paths are read too. A path to a file outside
        of the data set is not used.
        """
        for name in filter(None, names):
            if inside := next((path for path in self._paths(name) if is_inside(self.root, path)), None):
                return inside
            last = name.replace('\\', '/').rpartition('/')[2]
            if found := self._by_name.get(last) or self._by_stem.get(last) or self._by_stem.get(Path(last).stem):
                return found
        return None

    def _paths(self, name: str) -> list[Path]:
        """The files that a name with folders in it names, also outside of the data set."""
        text = name.replace('\\', '/')
        paths = [folder / text for folder in self.folders if '/' in text]
        return [path for path in paths if os.path.isfile(path)]  # False for names that no file can have

    def require(self, source: Path, *names: str | None) -> Path:
        """The image of ``source``, see :meth:`find`.

        Raises:
            UserError: there is none, or it is outside of the data set.
        """
        if found := self.find(*names):
            return found
        if outside := next((name for name in filter(None, names) if self._paths(name)), None):
            raise UserError(f'{source}: its image {outside} is outside of {self.root}; copy it there and correct the name.')
        looked = listed([f'{folder}/' for folder in self.folders])
        wanted = next(filter(None, names), 'an image without a name')
        raise UserError(f'{source}: its image {wanted} is missing in {looked}; copy it there, or remove it from the annotations.')


def left_out(count: int, suffix: str) -> tuple[str, ...]:
    """A sentence on images that have no annotation file of their own; none for no such images."""
    return (f'{counted(count, "image")} without {suffix} left out',) if count else ()


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits directly below ``root``, in any of the usual spellings."""
    found = {split: next((root / name for name in names if (root / name).is_dir()), None) for split, names in SPELLINGS.items()}
    return {split: folder for split, folder in found.items() if folder}


def split_of(word: str | None) -> str | None:
    """The split of a word such as ``Validation``; None for another word."""
    return next((split for split, names in SPELLINGS.items() if str(word).lower() in names), None)


def picture(path: Path, size: Sequence[object], boxes: Iterable[Box], source: Path) -> Picture:
    """A picture of a given width and height; a size that is no number above 0 is read from the image instead.

    Raises:
        UserError: a file that is not an image.
    """
    try:
        width, height = (int(float(value)) for value in size or (0, 0))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if width <= 0 or height <= 0:
        width, height = header_size(path)
    return Picture(path, width, height, tuple(boxes), source)


def around(label: str, points: Sequence[tuple[float, float]]) -> Box:
    """The box around points."""
    xs, ys = zip(*points)
    return Box(label, min(xs), min(ys), max(xs), max(ys))


def numbers(values: Sequence[object], where: str) -> list[float]:
    """Values as finite floats.

    Raises:
        UserError: a value is not one; ``where`` names the file and the entry.
    """
    found = []
    for value in values:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f'{where}: {value!r} is not a finite number; correct it, or remove this entry.')
        found.append(number)
    return found


def used_classes(splits: dict[str, list[Picture]]) -> tuple[str, ...]:
    """The classes of all boxes, sorted, for a format that does not list them.

    Raises:
        UserError: no boxes; a name that is too long or that MMEngine evaluates; or a class of val or test is not in train, which
            is often a spelling.
    """
    for image in (image for images in splits.values() for image in images):
        check_names(sorted({box.label for box in image.boxes}), image.source)
    names = {split: {box.label for image in images for box in image.boxes} for split, images in splits.items()}
    for split in names.keys() - {'train'} if splits.get('train') else ():
        for image in splits[split]:
            if unknown := sorted({box.label for box in image.boxes} - names['train']):
                known = listed(sorted(names['train']), 10) or 'no boxes'
                raise UserError(
                    f'{image.source}: the class {unknown[0]!r} is in {split}, but not in train, which has {known}; '
                    'write one spelling, or move an image of this class to train.'
                )
    found = sorted(set().union(*names.values()))
    if not found:
        first = next((image.source for images in splits.values() for image in images), 'the data set')
        raise UserError(f'{first} and the other files have no boxes: export the annotations again.')
    return tuple(found)


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files in a folder whose names fit a pattern, sorted.

    Raises:
        UserError: one of them is a folder, a pipe, or a link to nothing.
    """
    paths = sorted(folder.glob(pattern))
    if other := next((path for path in paths if not path.is_file()), None):
        raise UserError(f'{other} is not a file, but a folder, a pipe or a link to nothing; remove it, or give it another name.')
    return paths


def read_xml(path: Path) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
        UserError: the file is not XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: a wrong encoding
        raise UserError(f'{path} is not XML ({error}); export it again, or remove it.') from error


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without spaces at the ends.

    Raises:
        UserError: the file is not text in UTF-8.
    """
    try:
        return [line.strip() for line in path.read_bytes().decode('utf-8-sig').splitlines()]
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not text in UTF-8 ({error.reason}); save it again.') from error

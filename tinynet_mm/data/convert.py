"""Convert a data set in Pascal VOC, YOLO, LabelMe or CVAT format to COCO files, once; the images stay where they are.

The files are ``annotations/{train,val,test}.json`` in the folder ``tinynet_coco`` inside the data set, or in ``work_dirs`` if it
cannot be written. ``source.json`` next to them is complete last: it has the names, sizes and times of the source files, so a
changed set is converted again and an incomplete conversion does not count. A set without val and test gets a val split that is
held out from train (see :mod:`.holdout`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError, listed
from ..files import check_writable, collection_paused, read_json, write_json
from . import cvat, labelme, voc, yolo
from .folders import IMAGE_SUFFIXES
from .holdout import SEED, SHARE, held_out
from .records import Picture, Source, is_inside

if TYPE_CHECKING:
    from .coco import Split

FOLDER, MARKER, VERSION = 'tinynet_coco', 'source.json', 1
SUFFIXES = (*IMAGE_SUFFIXES, '.xml', '.json', '.txt', '.yaml', '.yml', '.names')
Reader = Callable[[Path], Source]
READERS: tuple[tuple[Callable[[Path], bool], Reader], ...] = (
    (yolo.finds_file, yolo.read),
    (cvat.finds, cvat.read),
    (voc.finds, voc.read),
    (labelme.finds, labelme.read),
    (yolo.finds_folders, yolo.read),
)
LAYOUTS = (
    'annotations/instances_train2017.json with train2017/',
    'annotations/train.json with images/',
    "Roboflow's train/_annotations.coco.json next to the images",
    'one file: annotations/instances_default.json (CVAT), result.json (Label Studio) or _annotations.coco.json',
)
LOOKED_FOR = (f'COCO: {", ".join(LAYOUTS)}', voc.LOOKED_FOR, yolo.LOOKED_FOR, labelme.LOOKED_FOR, cvat.LOOKED_FOR)


@dataclass(frozen=True)
class Scope:
    """Where the images of a COCO file may be: below ``root``, or directly in one of the ``folders``, which are absolute."""

    root: Path
    folders: frozenset[str] = frozenset()

    def outside(self, images: Path, names: Iterable[object]) -> str | None:
        """The first of the names, relative to ``images``, that is somewhere else; None if there is none."""
        start = os.path.join(os.path.abspath(self.root), '')
        for name in (name for name in names if isinstance(name, str)):
            path = os.path.abspath(images / name)
            if not (path.startswith(start) or self._is_known(path) or is_inside(self.root, path)):
                return name
        return None

    def _is_known(self, path: str) -> bool:
        return os.path.dirname(path) in self.folders and path.lower().endswith(SUFFIXES)  # so the digest has its size and time


@dataclass(frozen=True)
class Converted:
    """The folder of the COCO files, whether val was held out from train, and a sentence if they were written now."""

    folder: Path
    divided: bool
    note: str | None = None


def find_reader(root: Path) -> Reader | None:
    """The reader of the format of a folder; None for another format."""
    return next((read for finds, read in READERS if finds(root)), None)


def default_folder(root: Path) -> Path:
    """The folder of the COCO files of a data set: inside it, or in ``work_dirs`` if it cannot be written."""
    inside = root / FOLDER
    if os.access(inside if inside.is_dir() else root, os.W_OK):
        return inside
    digest = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]
    return Path('work_dirs') / FOLDER / f'{root.resolve().name}-{digest}'


def convert(root: Path, out: Path | None = None, val_share: float | None = None) -> Converted:
    """Convert a data set that is not in COCO format; files of an unchanged set are kept.

    Args:
        root: the folder of the data set.
        out: the folder of the COCO files; by default :func:`default_folder`.
        val_share: fraction of the images to hold out if there is no val and no test; None keeps an earlier one, or is 0.2.

    Raises:
        UserError: an unknown format, a fault in a file of the set, or a folder that cannot be written.
    """
    folder = out or default_folder(root)
    share, current = _earlier(root, folder, val_share)
    if current:
        return current
    read = find_reader(root)
    if read is None:
        raise UserError(f'{root} has no annotations in a known format: looked for {"; ".join(LOOKED_FOR)}.')
    with collection_paused():
        source = read(root)
        check(source, root)
        return write(source, root, folder, share)


def convert_single(content: dict, split: 'Split', root: Path, out: Path | None, val_share: float | None) -> Converted:
    """Divide a set in COCO format with train only into train and val; ``content`` is that of the annotation file of ``split``.

    The other arguments and the errors are those of :func:`convert`.
    """
    folder = out or default_folder(root)
    share, current = _earlier(root, folder, val_share)
    if current:
        return current
    images = [
        dict(image, file_name=file_name(split.images / str(image.get('file_name')), root, folder)) for image in content['images']
    ]
    train, val = divide(dict(content, images=images), share)
    named = {split.images / str(image.get('file_name')) for image in content['images']}
    marker = marker_of('COCO', [split.ann_file, *(path for path in named if path.parent.is_dir())], root, folder)
    write_files(folder, dict(train=train, val=val), dict(marker, val_share=share, divided=True))
    parts = f'train {len(train["images"])}, val {len(val["images"])}'
    return Converted(folder, True, f'{root} has no val and no test: {_held(train, val)} ({parts}) in {folder}')


def _earlier(root: Path, folder: Path, val_share: float | None) -> tuple[float, Converted | None]:
    """The share to hold out, and the files in ``folder`` if they are those of this set and share.

    Raises:
        UserError: the folder has files of another origin, or cannot be written.
    """
    marker, place = _read_marker(folder), _place(root, folder)
    has_unknown = not (folder / MARKER).exists() and any((folder / 'annotations').glob('*.json'))
    if FOLDER not in folder.parts and (marker.get('root') != place if marker else has_unknown):
        raise UserError(f'{folder / "annotations"} has files of another data set; choose another folder with --out.')
    share = val_share if val_share is not None else marker.get('val_share', SHARE)
    same = marker.get('val_share') == share or marker.get('divided') is False
    if same and marker.get('root') == place and _is_unchanged(marker, root):
        return share, Converted(folder, bool(marker.get('divided')))
    check_writable(folder / MARKER)
    return share, None


def check(source: Source, root: Path) -> None:
    """Check what no reader sees.

    Raises:
        UserError: no images, none in train, or an image that is in the set twice or outside of it.
    """
    seen: dict[Path, tuple[str, Path]] = {}
    for split, images in source.splits.items():
        for image in images:
            if not is_inside(root, image.path):
                raise UserError(
                    f'{image.source}: its image {image.path} is outside of {root}; copy it there and correct the name.'
                )
            if image.path in seen:
                other, first = seen[image.path]
                where = f'in {other} and in {split}, so a test says nothing' if other != split else f'twice in {split}'
                raise UserError(f'{image.path} is {where} (from {first} and {image.source}); remove one of them.')
            seen[image.path] = (split, image.source)
    if not seen:
        raise UserError(f'{root} is in {source.kind} format, but has no images; copy them there.')
    if not source.splits.get('train'):
        found = listed([split for split, images in source.splits.items() if images])
        raise UserError(f'{root} is in {source.kind} format, but train has no images, only {found}: move some of them to train.')


def write(source: Source, root: Path, folder: Path, share: float) -> Converted:
    """Write the COCO files and the marker."""
    contents = {split: content_of(images, source, root, folder) for split, images in source.splits.items() if images}
    held = set(contents) == {'train'}
    if held:
        contents['train'], contents['val'] = divide(contents['train'], share)
    pictures = [image for images in source.splits.values() for image in images]
    files = {*(image.path for image in pictures), *(image.source for image in pictures), *source.files}
    write_files(folder, contents, dict(marker_of(source.kind, files, root, folder), val_share=share, divided=held))
    boxes = sum(len(content['annotations']) for content in contents.values())
    parts = ', '.join(f'{split} {len(content["images"])}' for split, content in contents.items())
    extra = f', {_held(contents["train"], contents["val"])}' if held else ''
    said = (
        f'{root} is in {source.kind} format: {sum(map(len, source.splits.values()))} images ({parts}{extra}), {boxes} boxes, '
        f'{len(source.classes)} classes ({listed(source.classes, 10)}) converted to {folder}'
        + ''.join(f'; {sentence}' for sentence in source.omitted)
    )
    return Converted(folder, held, said)


def write_files(folder: Path, contents: Mapping[str, dict], marker: dict) -> None:
    """Write ``annotations/{split}.json`` and then the marker; until then, a marker of version 0 says that they do not count."""
    write_json(folder / MARKER, dict(version=0))
    for split in ('train', 'val', 'test'):
        path = folder / 'annotations' / f'{split}.json'
        if split in contents:
            write_json(path, contents[split], indent=None)
        else:
            path.unlink(missing_ok=True)
    write_json(folder / MARKER, marker)


def content_of(images: Iterable[Picture], source: Source, root: Path, folder: Path) -> dict:
    """The images of a split in COCO format; ids count from 1."""
    labels = {name: number for number, name in enumerate(source.classes, 1)}
    content: dict[str, list[dict]] = {'images': [], 'annotations': []}
    for number, image in enumerate(images, 1):
        name = file_name(image.path, root, folder)
        content['images'].append(dict(id=number, file_name=name, width=image.width, height=image.height))
        for box in image.boxes:
            x, y, w, h = (round(value, 3) for value in (box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1))
            entry = dict(id=len(content['annotations']) + 1, image_id=number, category_id=labels[box.label])
            content['annotations'].append(dict(entry, bbox=[x, y, w, h], area=round(w * h, 3), iscrowd=0))
    categories = [dict(id=number, name=name) for name, number in labels.items()]
    return dict(info=dict(description=f'converted from {source.kind} by tinynet_mm'), **content, categories=categories)


def file_name(path: Path, root: Path, folder: Path) -> str:
    """The name of an image in the COCO files: relative if both are inside the data set, which can then be moved."""
    if path.is_relative_to(root) and folder.is_relative_to(root):
        return Path(os.path.relpath(path, folder)).as_posix()
    return Path(os.path.abspath(path)).as_posix()


def divide(content: dict, share: float) -> tuple[dict, dict]:
    """A content in COCO format as two: the rest, and the images that are held out, see :func:`.holdout.held_out`.

    Raises:
        UserError: fewer than two images.
    """
    images = content['images']
    if len(images) < 2:
        raise UserError(f'{len(images)} image is not enough for train and val; add images, or a val split.')
    numbers = [as_key(image.get('id')) for image in images]
    classes: dict[object, set] = {number: set() for number in numbers}
    for annotation in content['annotations']:
        classes.setdefault(as_key(annotation.get('image_id')), set()).add(as_key(annotation.get('category_id')))
    chosen = {numbers[index] for index in held_out([classes[number] for number in numbers], share)}
    said = f'{share:g} of the images of each class are held out for val (seed {SEED})'
    return _part(content, said, lambda number: number not in chosen), _part(content, said, lambda number: number in chosen)


def _held(train: dict, val: dict) -> str:
    """How much is held out; rare classes can make it more than the share that was asked for."""
    return f'{len(val["images"]) / (len(train["images"]) + len(val["images"])):.0%} of the images are held out for val'


def as_key(value: object) -> object:
    """A JSON value as a key of a dict: a text in place of a list or an object, which the data check reports later."""
    return str(value) if isinstance(value, list | dict) else value


def _part(content: dict, said: str, keeps: Callable[[object], bool]) -> dict:
    images = [image for image in content['images'] if keeps(as_key(image.get('id')))]
    annotations = [annotation for annotation in content['annotations'] if keeps(as_key(annotation.get('image_id')))]
    info = dict(content.get('info') or {}, division=said)
    return dict(content, info=info, images=images, annotations=annotations)


# The marker -------------------------------------------------------------------------------------------------------------------


def marker_of(kind: str, files: Iterable[Path], root: Path, folder: Path) -> dict:
    """What :func:`convert` compares later: the folders of the source files, up to the root, and a digest of their content."""
    folders = {path.parent for path in files} | {root}
    for parent in list(folders):
        folders |= {above for above in parent.parents if above.is_relative_to(root)}
    names = sorted({Path(os.path.relpath(path, root)).as_posix() for path in folders})
    return dict(version=VERSION, kind=kind, root=_place(root, folder), folders=names, digest=_digest(root, names))


def _place(root: Path, folder: Path) -> str:
    """The data set of a conversion: relative if the conversion is inside it."""
    return os.path.relpath(root, folder) if folder.is_relative_to(root) else str(root.resolve())


def _digest(root: Path, folders: Iterable[str]) -> str:
    """A digest of the names, sizes and times of the files in folders, and of the names of their sub-folders."""
    found = hashlib.sha256()
    for name in folders:
        for entry in sorted(os.scandir(root / name), key=lambda entry: entry.name):
            if entry.is_dir() and entry.name != FOLDER:
                found.update(f'{name}/{entry.name}/\n'.encode(errors='surrogateescape'))
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file():
                status = entry.stat()
                found.update(f'{name}/{entry.name} {status.st_size} {status.st_mtime_ns}\n'.encode(errors='surrogateescape'))
    return found.hexdigest()


def _read_marker(folder: Path) -> dict:
    """The marker of complete COCO files; an empty dict if they are missing, incomplete or of another version."""
    path = folder / MARKER
    try:
        content = read_json(path) if path.is_file() and (folder / 'annotations' / 'train.json').is_file() else {}
    except UserError:
        return {}
    valid = isinstance(content, dict) and content.get('version') == VERSION and isinstance(content.get('val_share'), float)
    return content if valid and 0 < content['val_share'] < 1 else {}


def origin(folder: Path) -> Scope:
    """Where the images may be that the COCO files in a folder name: in the folder, or in those that a conversion has read.

    A conversion counts only if its digest is that of the data set now. It contains the times of the files in these folders, which
    somebody who ships a folder with a marker cannot know.
    """
    marker = _read_marker(folder)
    root = folder / str(marker.get('root', '.'))
    if not (marker and _is_unchanged(marker, root)):
        return Scope(folder)
    return Scope(folder, frozenset(os.path.abspath(root / name) for name in marker['folders']))


def _is_unchanged(marker: dict, root: Path) -> bool:
    folders = marker.get('folders')
    if not isinstance(folders, list) or not all(isinstance(name, str) and os.path.isdir(root / name) for name in folders):
        return False
    if '.' not in folders or len(set(folders)) < len(folders):  # not written by marker_of
        return False
    return marker.get('digest') == _digest(root, folders)

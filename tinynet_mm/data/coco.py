"""Adopt a detection set: find its layout, read its classes, and set a config to it.

The format is that of https://cocodataset.org/#format-data. The layouts are COCO's, ``annotations/{train,val,test}.json`` with
``images/``, and that of Roboflow's exports (``train/_annotations.coco.json`` next to the images). Other formats are converted
first, see :mod:`.convert`. Not from the paper.
"""

import colorsys
import copy
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..files import check_names, collection_paused
from ..mmlab.configs import SPLITS, set_classes, walk
from .convert import FOLDER, Scope, as_key, convert, convert_single, default_folder, origin
from .records import SPELLINGS

SINGLE = ('annotations/instances_default.json', 'result.json', '_annotations.coco.json')  # exports without splits
NO_SHARE = '{} has a val or test split, so --val-share has no effect.'
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """One part of a set: its annotation file, the folder that its file names are relative to, and its classes in label order."""

    ann_file: Path
    images: Path
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A data set on disk; a missing split is None."""

    root: Path
    train: Split | None
    val: Split | None
    test: Split | None
    classes: tuple[str, ...]

    def split(self, name: str) -> Split:
        """The split, or its fallback: test for a missing val and val for a missing test.

        Raises:
            UserError: both are missing.
        """
        fallback = {'train': 'train', 'val': 'test', 'test': 'val'}[name]
        found: Split | None = getattr(self, name) or getattr(self, fallback)
        if found is None:
            existing = ' and '.join(split for split in SPLITS if getattr(self, split))
            wanted = name if name == fallback else f'{name} or {fallback}'
            raise UserError(
                f'{self.root} has no {wanted} split, only {existing}: move a part of the images and annotations into one.'
            )
        return found

    @property
    def notes(self) -> list[str]:
        """One sentence for each split that another split replaces."""
        pairs = [('val', 'test', 'validates'), ('test', 'val', 'tests')]
        return [
            f'{self.root} has no {missing} split: it {verb} on {used}; do not both choose and report a model by it.'
            for missing, used, verb in pairs
            if getattr(self, missing) is None and getattr(self, used) is not None
        ]


def read_coco(ann_file: Path) -> dict:
    """Read an annotation file in COCO format as pycocotools does in training: JSON in UTF-8 without a byte order mark.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is not JSON in this encoding, or lacks the lists ``images``, ``annotations`` and ``categories``.
    """
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file}: no such annotation file; check the path.')
    try:
        with collection_paused():
            content = json.loads(ann_file.read_bytes().decode())  # decode() is strict and json.loads refuses text with a BOM
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{ann_file} is not JSON in UTF-8 without a byte order mark ({error}): export the annotations again, in COCO format.'
        ) from error
    lists = ('images', 'annotations', 'categories')
    missing = [key for key in lists if not (isinstance(content, dict) and isinstance(content.get(key), list))]
    if missing:
        raise UserError(f'{ann_file} is not in COCO format: it has no list of {", ".join(missing)}; export it as COCO detection.')
    if broken := [key for key in lists if not all(isinstance(entry, dict) for entry in content[key])]:
        raise UserError(f'{ann_file} is not in COCO format: an entry of {", ".join(broken)} is not an object; export it again.')
    for category in content['categories']:
        if not (isinstance(category.get('name'), str) and isinstance(category.get('id'), int)):
            raise UserError(f'{ann_file}: the category {category!r} needs a number as "id" and a text as "name".')
    check_names([category['name'] for category in content['categories']], ann_file)
    return content


def find_layout(
    root: str | Path,
    val_share: float | None = None,
    out: Path | None = None,
    hold_out: bool = False,
    note: Callable[[str], object] = LOGGER.warning,
) -> Layout:
    """Find the splits of the data set in a folder, and its classes; another format than COCO is converted, see :mod:`.convert`.

    Labels follow the order of ``categories`` in the file, as in mmdet; ids play no role. A category that is only the
    supercategory of others and has no box in any split (Roboflow writes one first) is dropped.

    Args:
        root: folder of the data set.
        val_share: fraction of the images that become val if there is no val and no test; None keeps an earlier one, or is 0.2.
        out: folder of the converted files; None is inside ``root``.
        hold_out: divide a set in COCO format with train only; otherwise an earlier division of it is used.
        note: receives a sentence if files are written.

    Raises:
        FileNotFoundError: the folder or the folder of the images is missing.
        UserError: the folder has no known layout, a file is not in its format, the categories of the splits differ, or an image
            is outside of the folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder; give the folder of a data set.')
    layout = read_layout(root, origin(root))
    complete = layout is not None and (layout.val or layout.test or layout.train is None)
    if val_share is not None and complete:
        note(NO_SHARE.format(root))
    if layout is None:
        done = convert(root, out, val_share)
    elif complete or layout.train is None or not (hold_out or was_divided(root, out)):
        return layout
    else:
        done = convert_single(read_coco(layout.train.ann_file), layout.train, root, out, val_share)
    for sentence in (done.note, NO_SHARE.format(root) if val_share is not None and not done.divided else None):
        if sentence:
            note(sentence)
    converted = read_layout(done.folder, Scope(root))
    assert converted is not None, done.folder
    return converted


def check_inside(scope: Scope, ann_file: Path, images: Path, content: dict) -> None:
    """Check that the images of a COCO file are inside the data set: a downloaded file must not name others of the machine.

    Raises:
        UserError: an absolute name, or one with ``..`` that leaves the data set.
    """
    name = scope.outside(images, (image.get('file_name') for image in content['images']))
    if name is not None:
        again = f'delete the folder {FOLDER}, so that the set is converted again'
        advice = again if FOLDER in ann_file.parts else 'copy it there and correct its file_name'
        raise UserError(f'{ann_file}: the image {name[:200]!r} is outside of {scope.root}; {advice}.')


def was_divided(root: Path, out: Path | None) -> bool:
    """Whether a set in COCO format with train only was divided before."""
    return ((out or default_folder(root)) / 'annotations' / 'val.json').is_file()


def read_layout(root: Path, scope: Scope) -> Layout | None:
    """The splits in COCO format in a folder; None if it has none. Raises as :func:`find_layout`.

    Args:
        root: the folder.
        scope: where all images must be, also those of a conversion: somebody else can have written its files.
    """
    files = {split: path for split in SPLITS if (path := find_ann_file(root, split))}
    if not files:
        return None
    contents = {split: read_coco(path) for split, path in files.items()}
    dropped = empty_supercategories(list(contents.values()))
    splits = {}
    for split, content in contents.items():
        classes = tuple(name for category in content['categories'] if (name := category['name']) not in dropped)
        splits[split] = Split(files[split], find_images(root, split, files[split], content), classes)
        check_inside(scope, files[split], splits[split].images, content)
    return Layout(root, splits.get('train'), splits.get('val'), splits.get('test'), common_classes(splits))


def find_ann_file(root: Path, split: str) -> Path | None:
    """The annotation file of a split in any of the layouts; None if it is missing."""
    for name in SPELLINGS[split]:
        for found in sorted((root / 'annotations').glob(f'instances_{name}*.json'), reverse=True):
            if re.fullmatch(rf'instances_{name}(\d{{4}})?', found.stem):
                return found
        for path in (root / 'annotations' / f'{name}.json', root / name / '_annotations.coco.json'):
            if path.is_file():
                return path
    singles = [path for name in SINGLE if (path := root / name).is_file()] if split == 'train' else []
    return singles[0] if singles else None


def find_images(root: Path, split: str, ann_file: Path, content: dict) -> Path:
    """The folder of the file's first image; the first folder that exists if the image is in none of them.

    Raises:
        FileNotFoundError: none of the folders exists.
    """
    stem = ann_file.stem.removeprefix('instances_')
    candidates = [root / stem, root / 'images' / stem, root / 'images', root / split, root / 'images' / split]
    if ann_file.parent.name != 'annotations':
        candidates = [ann_file.parent, root / 'images'] if ann_file.parent == root else [ann_file.parent]
    first = content['images'][0].get('file_name') if content['images'] else None
    for folder in (*candidates, root):
        if isinstance(first, str) and os.path.isfile(folder / first):  # False for names that no file can have
            return folder
    existing = [folder for folder in candidates if folder.is_dir()]
    if not existing:
        looked = ', '.join(f'{folder.relative_to(root)}/' for folder in dict.fromkeys(candidates))
        raise FileNotFoundError(
            f'no images for {ann_file}: looked for {looked} in {root}; copy the images to one of these folders.'
        )
    return existing[0]


def empty_supercategories(contents: Sequence[dict]) -> set[str]:
    """Names of categories that are supercategories of other categories and have no box in any of the files."""
    categories = [category for content in contents for category in content['categories']]
    pairs = [(category['name'], as_key(category.get('supercategory'))) for category in categories]
    parents = {parent for name, parent in pairs if parent != name}
    with_boxes = set()
    for content in contents:
        used = {as_key(annotation.get('category_id')) for annotation in content['annotations']}
        with_boxes |= {category['name'] for category in content['categories'] if category['id'] in used}
    return {category['name'] for category in categories if category['name'] in parents} - with_boxes


def common_classes(splits: dict[str, Split]) -> tuple[str, ...]:
    """The classes of all splits, in label order.

    Raises:
        UserError: no classes, a duplicate name, or splits that differ in names or order (mmdet numbers by each file's order).
    """
    first, *others = splits.values()
    classes = first.classes
    if not classes:
        raise UserError(f'{first.ann_file} has no categories: add them, and export the annotations again.')
    for split in splits.values():
        if duplicates := sorted(name for name, count in Counter(split.classes).items() if count > 1):
            raise UserError(f'{split.ann_file} has duplicate categories: {", ".join(duplicates)}; merge or rename them.')
    for other in others:
        if differing := sorted(set(classes) ^ set(other.classes)):
            raise UserError(
                f'the categories of {first.ann_file} and {other.ann_file} differ in {", ".join(differing)}: '
                'write the same categories into every split, also if one has no boxes there.'
            )
        if other.classes != classes:
            a, b = next((a, b) for a, b in zip(classes, other.classes) if a != b)
            raise UserError(
                f'{first.ann_file} and {other.ann_file} have the same categories in another order ("{a}" in one, "{b}" in '
                'the other), so their labels differ: write them in one order.'
            )
    return classes


def adopt(
    cfg: Config,
    root: str | Path,
    splits: Sequence[str] = SPLITS,
    val_share: float | None = None,
    note: Callable[[str], object] = LOGGER.warning,
) -> Layout:
    """Set a detector's config to the data set in ``root``; changes ``cfg``.

    Sets paths, classes and a palette on the data sets and evaluators of ``splits`` (through wrappers such as ``RepeatDataset``),
    and ``num_classes`` of every head. Test replaces a missing val, val replaces a missing test; ``Layout.notes`` says so. A set
    with train only is divided if ``splits`` has another one; ``val_share`` and ``note`` are those of :func:`find_layout`.

    Raises:
        UserError, FileNotFoundError: see :func:`find_layout`; or a split is missing and has no fallback.
    """
    layout = find_layout(root, val_share, hold_out=bool({'val', 'test'}.intersection(splits)), note=note)
    metainfo = dict(classes=layout.classes, palette=palette(len(layout.classes)))
    for name in splits:
        split = layout.split(name)
        for part in (f'{name}_dataloader', f'{name}_evaluator'):
            if cfg.get(part) is None:
                continue
            cfg[part] = copy.deepcopy(cfg[part])  # test parts are often the same objects as the val parts
            for settings in (found for found in walk(cfg[part]) if 'ann_file' in found):
                if part.endswith('evaluator'):
                    settings['ann_file'] = str(split.ann_file)
                else:
                    settings.update(dataset_paths(layout.root, split), metainfo=metainfo)
    set_classes(cfg.model, len(layout.classes))
    return layout


def dataset_paths(root: Path, split: Split) -> dict:
    """The arguments of an mmdet data set that hold its paths, relative to ``root``."""
    prefix = split.images.relative_to(root).as_posix() + '/'
    return dict(data_root=str(root), ann_file=split.ann_file.relative_to(root).as_posix(), data_prefix=dict(img=prefix))


def splits_of(cfg: Config) -> dict[str, Split]:
    """The splits that a detector's config reads from files in COCO format, by name; the first of several data sets in a split."""
    found: dict[str, Split] = {}
    for name in SPLITS:
        for data in walk(cfg.get(f'{name}_dataloader')):
            if not str(data.get('ann_file')).endswith('.json'):
                continue
            root = Path(data.get('data_root') or '')
            images = root / data.get('data_prefix', {}).get('img', '')
            found.setdefault(name, Split(root / data['ann_file'], images, tuple(data.get('metainfo', {}).get('classes', ()))))
    return found


def palette(count: int) -> list[tuple[int, int, int]]:
    """RGB colours (0 to 255) for drawing, with evenly spread hues and three levels of brightness."""
    hues = [index * 0.618034 % 1 for index in range(count)]  # steps of the golden ratio never repeat a hue
    shades = [(0.9, 1.0), (0.6, 0.9), (1.0, 0.65)]
    colours = [colorsys.hsv_to_rgb(hue, *shades[index % 3]) for index, hue in enumerate(hues)]
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in colours]

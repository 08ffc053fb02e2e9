"""Any COCO-format detection set in one call: find its layout, read its classes, and point a config at it.

The format is that of https://cocodataset.org/#format-data. The layouts are COCO's own, ``annotations/{train,val,test}.json`` with
``images/``, and that of Roboflow's exports (``train/_annotations.coco.json`` beside the images). Not from the paper.
"""

import colorsys
import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..errors import UserError
from ..mmlab.configs import SPLITS, walk

SKIPPED_HEADS = ('backbone', 'rpn_head')  # parts of a model whose num_classes is not that of the data
SPELLINGS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
LAYOUTS = (
    'annotations/instances_train2017.json with train2017/',
    'annotations/train.json with images/',
    "Roboflow's train/_annotations.coco.json with the images beside it",
)


@dataclass(frozen=True)
class Split:
    """One part of a set: its annotation file, the folder that its file names start from, and its classes in label order."""

    ann_file: Path
    images: Path
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A set found on disk; a split that it does not have is None."""

    root: Path
    train: Split | None
    val: Split | None
    test: Split | None
    classes: tuple[str, ...]

    def split(self, name: str) -> Split:
        """The split, or its stand-in: test for a missing val and val for a missing test.

        Raises:
            UserError: neither is there.
        """
        stand_in = {'train': 'train', 'val': 'test', 'test': 'val'}[name]
        found = getattr(self, name) or getattr(self, stand_in)
        if found is None:
            there = ' and '.join(split for split in SPLITS if getattr(self, split))
            wanted = name if name == stand_in else f'{name} or {stand_in}'
            raise UserError(
                f'{self.root} has no {wanted} split, only {there}: move a part of the images and annotations into one.'
            )
        return found

    @property
    def notes(self) -> list[str]:
        """What a user should know about stand-ins, a sentence each."""
        pairs = [('val', 'test', 'validates'), ('test', 'val', 'tests')]
        return [
            f'{self.root} has no {missing} split: it {verb} on {used}, so do not choose a model by it and report it too.'
            for missing, used, verb in pairs
            if getattr(self, missing) is None and getattr(self, used) is not None
        ]


def read_coco(ann_file: Path) -> dict:
    """Read an annotation file and see that it is one.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not JSON, or lacks the lists ``images``, ``annotations`` and ``categories``.
    """
    if not ann_file.is_file():
        raise FileNotFoundError(f'{ann_file}: no such annotation file.')
    try:
        content = json.loads(ann_file.read_bytes().decode())  # as pycocotools reads it in training: UTF-8 without a BOM
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
    return content


def find_layout(root: str | Path) -> Layout:
    """Find the splits of the set in a folder, and its classes.

    Labels follow the order of ``categories`` in the file, as in mmdet, whatever the ids. A category that is only the
    supercategory of others and has no box in any split (Roboflow writes one first) is dropped.

    Raises:
        FileNotFoundError: no such folder, or annotations without their images.
        UserError: no known layout in it; files that are not in COCO format; splits whose categories differ.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder; give the folder of a COCO-format data set.')
    files = {split: path for split in SPLITS if (path := find_ann_file(root, split))}
    if not files:
        raise UserError(f'{root} holds no COCO-format data: looked for {"; ".join(LAYOUTS)}.')
    contents = {split: read_coco(path) for split, path in files.items()}
    dropped = empty_supercategories(contents.values())
    splits = {}
    for split, content in contents.items():
        classes = tuple(name for category in content['categories'] if (name := category['name']) not in dropped)
        splits[split] = Split(files[split], find_images(root, split, files[split], content), classes)
    return Layout(root, *(splits.get(split) for split in SPLITS), common_classes(splits))


def find_ann_file(root: Path, split: str) -> Path | None:
    """The annotation file of a split in any of the layouts, or None."""
    for name in SPELLINGS[split]:
        for found in sorted((root / 'annotations').glob(f'instances_{name}*.json'), reverse=True):
            if re.fullmatch(rf'instances_{name}(\d{{4}})?', found.stem):
                return found
        for path in (root / 'annotations' / f'{name}.json', root / name / '_annotations.coco.json'):
            if path.is_file():
                return path
    return None


def find_images(root: Path, split: str, ann_file: Path, content: dict) -> Path:
    """The folder that the file's first image is in; where none does, the first folder that exists.

    Raises:
        FileNotFoundError: none of the folders exists.
    """
    stem = ann_file.stem.removeprefix('instances_')
    candidates = [root / stem, root / 'images' / stem, root / 'images', root / split, root / 'images' / split]
    if ann_file.parent.name != 'annotations':
        candidates = [ann_file.parent]
    first = content['images'][0].get('file_name') if content['images'] else None
    for folder in (*candidates, root):
        if first and (folder / first).is_file():
            return folder
    there = [folder for folder in candidates if folder.is_dir()]
    if not there:
        looked = ', '.join(f'{folder.relative_to(root)}/' for folder in dict.fromkeys(candidates))
        raise FileNotFoundError(f'{ann_file} is there but its images are not: looked for {looked} in {root}.')
    return there[0]


def empty_supercategories(contents: Sequence[dict]) -> set[str]:
    """Names of categories that are supercategories of other categories and have no box in any of the files."""
    categories = [category for content in contents for category in content['categories']]
    parents = {category.get('supercategory') for category in categories if category.get('supercategory') != category['name']}
    with_boxes = set()
    for content in contents:
        used = {annotation.get('category_id') for annotation in content['annotations']}
        with_boxes |= {category['name'] for category in content['categories'] if category['id'] in used}
    return {category['name'] for category in categories if category['name'] in parents} - with_boxes


def common_classes(splits: dict[str, Split]) -> tuple[str, ...]:
    """The classes that all splits share, in their order.

    Raises:
        UserError: no classes, a name twice, or splits that differ in names or order (mmdet numbers by each file's order).
    """
    first, *others = splits.values()
    classes = first.classes
    if not classes:
        raise UserError(f'{first.ann_file} names no categories.')
    if doubled := sorted({name for name in classes if classes.count(name) > 1}):
        raise UserError(f'{first.ann_file} names these categories twice: {", ".join(doubled)}; merge or rename them.')
    for other in others:
        if differing := sorted(set(classes) ^ set(other.classes)):
            raise UserError(
                f'the categories of {first.ann_file} and {other.ann_file} differ in {", ".join(differing)}: '
                'write the same categories into every split, also where one has no boxes.'
            )
        if other.classes != classes:
            a, b = next((a, b) for a, b in zip(classes, other.classes) if a != b)
            raise UserError(
                f'{first.ann_file} and {other.ann_file} order the same categories differently ("{a}" where the other has '
                f'"{b}"), so their labels would differ: bring them into one order.'
            )
    return classes


def adopt(cfg: Config, root: str | Path, splits: Sequence[str] = SPLITS) -> Layout:
    """Point a detector's config at the set in ``root``; changes ``cfg``.

    Sets paths, classes and a palette on the data sets and evaluators of ``splits`` (through wrappers such as ``RepeatDataset``),
    and ``num_classes`` of every head. A missing val is replaced by test and the reverse; ``Layout.notes`` says so.

    Raises:
        UserError, FileNotFoundError: see :func:`find_layout`; or a split is missing and has no stand-in.
    """
    layout = find_layout(root)
    metainfo = dict(classes=layout.classes, palette=palette(len(layout.classes)))
    for name in splits:
        split = layout.split(name)
        for part in (f'{name}_dataloader', f'{name}_evaluator'):
            if cfg.get(part) is None:
                continue
            cfg[part] = copy.deepcopy(cfg[part])  # test parts are often the val parts under a second name
            for holder in (found for found in walk(cfg[part]) if 'ann_file' in found):
                if part.endswith('evaluator'):
                    holder['ann_file'] = str(split.ann_file)
                else:
                    holder.update(dataset_paths(layout.root, split), metainfo=metainfo)
    for head in walk(cfg.model, skip=SKIPPED_HEADS):
        if 'num_classes' in head:
            head['num_classes'] = len(layout.classes)
    return layout


def dataset_paths(root: Path, split: Split) -> dict:
    """The arguments of an mmdet data set that say where its files lie."""
    prefix = split.images.relative_to(root).as_posix() + '/'
    return dict(data_root=str(root), ann_file=split.ann_file.relative_to(root).as_posix(), data_prefix=dict(img=prefix))


def splits_of(cfg: Config) -> dict[str, Split]:
    """The splits that a detector's config reads from COCO-format files, by name; of several data sets in a split the first."""
    found = {}
    for name in SPLITS:
        for data in walk(cfg.get(f'{name}_dataloader')):
            if not str(data.get('ann_file')).endswith('.json'):
                continue
            root = Path(data.get('data_root') or '')
            images = root / data.get('data_prefix', {}).get('img', '')
            found.setdefault(name, Split(root / data['ann_file'], images, tuple(data.get('metainfo', {}).get('classes', ()))))
    return found


def palette(count: int) -> list[tuple[int, int, int]]:
    """RGB colours for drawing, as far apart in hue as their number allows; three rounds of brightness."""
    hues = [index * 0.618034 % 1 for index in range(count)]  # steps of the golden ratio never fall on an earlier hue
    shades = [(0.9, 1.0), (0.6, 0.9), (1.0, 0.65)]
    colours = [colorsys.hsv_to_rgb(hue, *shades[index % 3]) for index, hue in enumerate(hues)]
    return [tuple(round(255 * channel) for channel in colour) for colour in colours]

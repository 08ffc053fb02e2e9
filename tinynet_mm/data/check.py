"""A look at a COCO-format set before hours are spent on it: what would crash a training, make it meaningless, or cost accuracy.

Fatal is what mmdet 3.x, pycocotools or the image reader cannot take (no images, missing or unreadable ones, ids given twice,
fields that are read but absent), and what leaves nothing to learn (no usable box) or silently drops labels for a whole class (an
undefined category). All else is reported and trained on: mmdet skips boxes without area or outside the image by itself. Not from
the paper.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import MODELS

from ..errors import UserError
from ..mmlab.configs import SPLITS
from .augment import pairwise_iou
from .coco import find_layout, read_coco, splits_of
from .folders import check_classes, class_folders
from .images import image_size

# kind of finding: (is it fatal, what to do about it)
KINDS = {
    'no images in the file': (True, 'export the annotations again, with their images'),
    'no usable boxes': (True, 'there is nothing to learn or to measure: check the export'),
    'images with a field missing': (True, 'each needs an id, a file_name, and numbers as width and height'),
    'annotations with a field missing': (
        True,
        'each needs an image_id, numbers as id, category_id, area and iscrowd, and four as bbox',
    ),
    'image ids given twice': (True, 'number the images again'),
    'annotation ids given twice': (True, 'number the annotations again'),
    'category ids given twice': (True, 'number the categories again'),
    'annotations of an undefined category': (True, 'add the category to "categories", or remove them'),
    'missing images': (True, 'copy them there, or remove them from the file'),
    'unreadable images': (True, 'replace or save them again, or remove them from the file'),
    'annotations of an undefined image': (False, 'they are ignored'),
    'images of another size than in the file': (
        False,
        'their boxes may lie wrong: see whether the pictures were resized or turned',
    ),
    'boxes wholly outside the image': (False, 'they are ignored'),
    'boxes partly outside the image': (False, 'they are cut'),
    'boxes of no area': (False, 'they are ignored'),
    'categories without boxes': (False, 'they cannot be learned or measured'),
    'images without boxes': (False, 'training leaves them out, testing uses them'),
    'images with nothing but crowds': (False, 'they teach background only'),
    'boxes no anchor matches': (False, 'IoU below 0.5 with every anchor at this input size: only the best one learns them'),
}
SLACK = 1  # pixels that a box may reach out of the image: annotation tools round
ANCHOR_SAMPLE = 5000  # boxes compared with the anchors, spread evenly over the file

Spot = tuple[str, str]  # a kind and one example of it
Progress = Callable[[Iterable, int], Iterable]  # wraps an iteration, given it and its length


def no_progress(steps: Iterable, total: int) -> Iterable:
    return steps


@dataclass(frozen=True)
class Finding:
    """How often a kind of trouble occurs, and where for example."""

    kind: str
    count: int
    example: str

    @property
    def fatal(self) -> bool:
        return KINDS[self.kind][0]

    def __str__(self) -> str:
        return f'{self.count} {self.kind}, for example {self.example}: {KINDS[self.kind][1]}'


@dataclass(frozen=True)
class Report:
    """What :func:`check_split` found in one annotation file; counts are of entries in the file."""

    ann_file: Path
    images: int
    boxes: int
    classes: int
    findings: tuple[Finding, ...]

    @property
    def fatal(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.fatal)

    def stop_if_fatal(self) -> None:
        """Raise a ValueError that names the fatal findings, if there are any."""
        if self.fatal:
            raise UserError(f'{self.ann_file} cannot be used: {"; ".join(map(str, self.fatal))}.')

    def __str__(self) -> str:
        lines = [f'{self.ann_file}: {self.images} images, {self.boxes} boxes, {self.classes} categories']
        for finding in sorted(self.findings, key=lambda finding: not finding.fatal):
            mark = 'FATAL' if finding.fatal else 'note '
            lines.append(f'  {mark} {finding.count:>6} {finding.kind}, e.g. {finding.example}: {KINDS[finding.kind][1]}')
        return '\n'.join(lines if self.findings else [*lines, '  nothing found'])


def check_split(
    ann_file: str | Path,
    image_folder: str | Path,
    anchors: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Check an annotation file, and decode every image it names.

    Args:
        ann_file: annotations in COCO's format.
        image_folder: where the file names start.
        anchors: (N, 4) xyxy as shares of the input's sides, from :func:`anchors_of`; None leaves the comparison out.
        progress: wraps the iteration over the images, to show how far it is.

    Raises:
        FileNotFoundError, UserError: no such file, or one that is not in COCO format. Findings do not raise, see ``Report``.
    """
    ann_file, content = Path(ann_file), read_coco(Path(ann_file))
    spots = list(entry_spots(content))
    if not spots:  # every entry has the fields that the rest reads
        spots += [*box_spots(content), *content_spots(content)]
        if anchors is not None:
            spots += anchor_spots(content, anchors)
        spots += image_spots(content['images'], Path(image_folder), progress)
    counts, examples = Counter(kind for kind, _ in spots), dict(reversed(spots))
    findings = tuple(Finding(kind, counts[kind], examples[kind]) for kind in KINDS if kind in counts)
    return Report(ann_file, len(content['images']), len(content['annotations']), len(content['categories']), findings)


def check_config(cfg: Config, splits: Sequence[str] = SPLITS, progress: Progress = no_progress) -> Iterator[Report]:
    """Check the splits that a detector's config reads, against its own anchors; a file that two splits share is checked once.

    Raises:
        FileNotFoundError, UserError: as :func:`check_split`.
    """
    anchors = anchors_of(cfg)
    places = [(split.ann_file, split.images) for name, split in splits_of(cfg).items() if name in splits]
    for ann_file, images in dict.fromkeys(places):
        yield check_split(ann_file, images, anchors, progress)


def check_root(root: Path, progress: Progress = no_progress) -> Iterator[Report]:
    """Check every split of a data set, in COCO format or as class folders (``train/<class>/*.jpg``)."""
    folders = [root / split for split in ('train', 'val') if (root / split).is_dir()]
    if folders and not (root / 'annotations').is_dir() and not list(root.glob('*/_annotations.coco.json')):
        yield from check_class_folders(folders, progress)
        return
    layout = find_layout(root)
    for split in filter(None, (getattr(layout, name) for name in SPLITS)):
        yield check_split(split.ann_file, split.images, progress=progress)


def class_roots(cfg: Config) -> list[Path]:
    """The folders of class folders that the config of a classifier reads, train first."""
    found = []
    for split in SPLITS:
        data = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {})
        where = data.get('folder') or Path(data.get('data_root', ''), data.get('split') or data.get('data_prefix') or '')
        found.append(Path(where))
    return list(dict.fromkeys(found))


def check_class_folders(roots: Sequence[Path], progress: Progress = no_progress) -> Iterator[Report]:
    """Check folders with one folder of images for each class: the same classes in all, and every image decodes.

    Raises:
        FileNotFoundError, UserError: a folder or a class is missing, or a class has no image.
    """
    for root in roots:
        names, files = check_classes(root), class_folders(root)
        paths = [path for name in names for path in files[name]]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            broken = [text for text in progress(pool.map(_broken, paths), len(paths)) if text]
        findings = (Finding('unreadable images', len(broken), broken[0]),) if broken else ()
        yield Report(root, len(paths), 0, len(names), findings)


def _broken(path: str) -> str | None:
    try:
        image_size(path)
    except UserError as error:
        return str(error)
    return None


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def is_id(value: object) -> bool:
    """Whether pycocotools takes it as an image's id: a number or a text."""
    return isinstance(value, int | str)


def name_annotation(annotation: dict, image: dict) -> str:
    """An annotation for a reader: its id, box, and image."""
    return f'annotation {annotation["id"]}, {annotation["bbox"]} in {image["file_name"]} ({image["width"]}x{image["height"]})'


def entry_spots(content: dict) -> Iterator[Spot]:
    """Fields that mmdet or pycocotools reads and that are absent, and ids given twice."""
    for image in content['images']:
        named = isinstance(image.get('file_name'), str) and is_id(image.get('id'))
        if not (named and is_number(image.get('width')) and is_number(image.get('height'))):
            yield 'images with a field missing', str(image)[:150]
    for annotation in content['annotations']:
        fields, box = ('id', 'category_id', 'area', 'iscrowd'), annotation.get('bbox')
        sound = isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and is_id(annotation.get('image_id'))
        if not (sound and all(is_number(annotation.get(key)) for key in fields)):
            yield 'annotations with a field missing', str({k: v for k, v in annotation.items() if k != 'segmentation'})[:150]
    for key, kind in (('images', 'image'), ('annotations', 'annotation'), ('categories', 'category')):
        counts = Counter(str(entry.get('id')) for entry in content[key])
        yield from ((f'{kind} ids given twice', f'id {number}') for number, count in counts.items() if count > 1)


def box_spots(content: dict) -> Iterator[Spot]:
    """Boxes that point nowhere or lie badly."""
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        image = images.get(annotation['image_id'])
        if image is None:
            yield 'annotations of an undefined image', f'annotation {annotation["id"]} of image {annotation["image_id"]}'
            continue
        example = partial(name_annotation, annotation, image)
        if annotation['category_id'] not in categories:
            yield 'annotations of an undefined category', f'category {annotation["category_id"]}, {example()}'
        x, y, w, h = annotation['bbox']
        over = max(-x, -y, x + w - image['width'], y + h - image['height'])
        if w < 1 or h < 1 or annotation['area'] <= 0:
            yield 'boxes of no area', example()
        elif not is_inside(annotation, image):
            yield 'boxes wholly outside the image', example()
        elif over > SLACK:
            yield 'boxes partly outside the image', example()


def is_inside(annotation: dict, image: dict) -> bool:
    """Whether a box shares area with its image."""
    x, y, w, h = annotation['bbox']
    return x < image['width'] and y < image['height'] and x + w > 0 and y + h > 0


def usable_boxes(content: dict) -> Iterator[tuple[dict, dict]]:
    """The annotations that mmdet trains on, each with its image: those of area, inside, defined, not ignored and no crowd."""
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        image, (_, _, w, h) = images.get(annotation['image_id']), annotation['bbox']
        if image is None or annotation['category_id'] not in categories or annotation['iscrowd'] or annotation.get('ignore'):
            continue
        if annotation['area'] > 0 and w >= 1 and h >= 1 and is_inside(annotation, image):
            yield annotation, image


def content_spots(content: dict) -> Iterator[Spot]:
    """What the whole file lacks, and images and categories that have no boxes."""
    if not content['images']:
        yield 'no images in the file', 'its list of images is empty'
    usable = [annotation for annotation, _ in usable_boxes(content)]
    if not usable:
        crowds = sum(bool(annotation['iscrowd']) for annotation in content['annotations'])
        yield 'no usable boxes', f'it has {len(content["annotations"])} annotations, {crowds} of them crowds'
    used = {annotation['category_id'] for annotation in usable}
    yield from (
        ('categories without boxes', category['name']) for category in content['categories'] if category['id'] not in used
    )
    annotated = {annotation['image_id'] for annotation in content['annotations']}
    crowded = annotated - {annotation['image_id'] for annotation in content['annotations'] if not annotation['iscrowd']}
    for image in content['images']:
        if image['id'] not in annotated:
            yield 'images without boxes', image['file_name']
        elif image['id'] in crowded:
            yield 'images with nothing but crowds', image['file_name']


def anchor_spots(content: dict, anchors: np.ndarray) -> Iterator[Spot]:
    """Boxes whose IoU with every anchor is below 0.5, the matcher's threshold, once image and boxes are resized to the input."""
    usable = list(usable_boxes(content))
    sample = usable[:: -(-len(usable) // ANCHOR_SAMPLE)] if usable else []
    boxes = np.array(
        [(*annotation['bbox'], image['width'], image['height']) for annotation, image in sample], np.float32
    ).reshape(-1, 6)
    sides = boxes[:, 4:]
    boxes = np.concatenate([boxes[:, :2] / sides, (boxes[:, :2] + boxes[:, 2:4]) / sides], 1).clip(0, 1)
    chunks = np.split(boxes, range(256, len(boxes), 256))
    best = np.concatenate([pairwise_iou(chunk, anchors.astype(np.float32)).max(1) for chunk in chunks])
    missed = np.flatnonzero(best < 0.5)
    share = f'{len(missed) / max(len(sample), 1):.1%} of {len(sample)} boxes'
    yield from (('boxes no anchor matches', f'{share}, {name_annotation(*sample[index])}') for index in missed)


def image_spots(images: list[dict], folder: Path, progress: Progress) -> Iterator[Spot]:
    """Decode all images on all cores; the decoders release Python's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for spot in progress(pool.map(partial(image_spot, folder), images), len(images)):
            if spot is not None:
                yield spot


def image_spot(folder: Path, image: dict) -> Spot | None:
    """What is wrong with the file of an image, if anything; it is read as training and prediction read it."""
    path = folder / image['file_name']
    if not path.is_file():
        return 'missing images', str(path)
    try:
        size = image_size(path)
    except UserError as error:
        return 'unreadable images', str(error)
    if size != (image['width'], image['height']):
        stated = f'{image["width"]}x{image["height"]}'
        return 'images of another size than in the file', f'{path} is {size[0]}x{size[1]}, not {stated}'
    return None


def anchors_of(cfg: Config) -> np.ndarray | None:
    """The anchors of an SSDLite config as (N, 4) xyxy in shares of the input's sides; None for heads without ``input_size``."""
    if 'SSDLiteHead' not in cfg.model.get('bbox_head', {}).get('type', ''):
        return None
    head = MODELS.build(dict(cfg.model.bbox_head, _scope_='mmdet'))
    levels = head.prior_generator.grid_priors([(side, side) for side in head.sides], device='cpu')
    return np.concatenate([level.numpy() for level in levels]) / head.input_size

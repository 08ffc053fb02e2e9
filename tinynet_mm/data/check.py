"""Check a data set before training: what would stop a training, make it meaningless, or cost accuracy.

A finding is fatal if mmdet 3.x, pycocotools or the image reader cannot process it (no images, missing or unreadable images,
duplicate ids, absent fields), if nothing can be learned (no usable box), or if a class silently loses its labels (an undefined
category). All other findings are notes: mmdet skips boxes without area or outside the image itself. Not from the paper.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.config import Config

from ..errors import UserError, counted, printable
from ..mmlab.configs import SPLITS
from .coco import find_ann_file, find_layout, read_coco, splits_of
from .convert import as_key, find_reader
from .folders import check_classes, class_folders
from .images import image_size
from .priors import NO_ANCHOR, NO_POINT, Priors, priors_of

# kind of finding: (is it fatal, what to do)
KINDS = {
    'no images in the file': (True, 'export the annotations again, with their images'),
    'no usable boxes': (True, 'there is nothing to learn or to measure: check the export'),
    'images with a missing field': (True, 'each needs an id, a file_name, and numbers as width and height'),
    'annotations with a missing field': (
        True,
        'each needs an image_id, numbers as id, category_id, area and iscrowd, and four as bbox',
    ),
    'duplicate image ids': (True, 'number the images again'),
    'duplicate annotation ids': (True, 'number the annotations again'),
    'duplicate category ids': (True, 'number the categories again'),
    'annotations of an undefined category': (True, 'add the category to "categories", or remove them'),
    'missing images': (True, 'copy them there, or remove them from the file'),
    'unreadable images': (True, 'replace them, save them again, or remove them from the data set'),
    'annotations with the id 0': (False, 'pycocotools counts a box with this id as missed: number the annotations from 1'),
    'annotations of an undefined image': (False, 'they are ignored'),
    'images of another size than in the file': (
        False,
        'their boxes may be misplaced: check whether the images were resized or rotated',
    ),
    'boxes completely outside the image': (False, 'they are ignored'),
    'boxes partly outside the image': (False, 'they are clipped'),
    'boxes without area': (False, 'they are ignored'),
    'categories without boxes': (False, 'they cannot be learned or measured'),
    'images without boxes': (False, 'training leaves them out without --keep-empty, testing uses them'),
    'images with only crowd annotations': (False, 'they teach background only'),
    NO_ANCHOR: (
        False,
        'IoU below 0.5 with every anchor at this input size: only the best anchor learns them',
    ),
    NO_POINT: (False, 'the head learns nothing from them: give a larger --input-size, or predict in tiles'),
}
LARGEST = 1e15
SLACK = 1  # pixels by which a box may exceed the image: annotation tools round
PRIOR_SAMPLE = 5000  # boxes compared with the anchors or points, spread evenly over the file

Problem = tuple[str, str]  # a kind of finding and one example of it
Progress = Callable[[Iterable, int], Iterable]  # wraps an iteration; receives the iterable and its length


def no_progress(steps: Iterable, total: int) -> Iterable:
    """Return ``steps`` unchanged: the default of a :data:`Progress` argument."""
    return steps


@dataclass(frozen=True)
class Finding:
    """One kind of problem: how often it occurs, and one example."""

    kind: str
    count: int
    example: str

    @property
    def fatal(self) -> bool:
        """Whether training fails or makes no sense with this finding."""
        return KINDS[self.kind][0]

    def __str__(self) -> str:
        return printable(f'{self.count} {self.kind}, for example {self.example}: {KINDS[self.kind][1]}')


@dataclass(frozen=True)
class Report:
    """The findings of one annotation file or class folder, and the number of its images, boxes and classes."""

    ann_file: Path
    images: int
    boxes: int | None  # None for a classifier
    classes: int
    findings: tuple[Finding, ...]

    @property
    def fatal(self) -> tuple[Finding, ...]:
        """The findings that are fatal."""
        return tuple(finding for finding in self.findings if finding.fatal)

    def stop_if_fatal(self) -> None:
        """Do nothing if no finding is fatal.

        Raises:
            UserError: some findings are fatal; the message names them.
        """
        if self.fatal:
            raise UserError(f'{self.ann_file} cannot be used: {"; ".join(map(str, self.fatal))}.')

    def __str__(self) -> str:
        if self.boxes is None:
            contents = counted(self.classes, 'class', 'classes')
        else:
            contents = f'{counted(self.boxes, "box", "boxes")}, {counted(self.classes, "category", "categories")}'
        lines = [f'{self.ann_file}: {counted(self.images, "image")}, {contents}']
        for finding in sorted(self.findings, key=lambda finding: not finding.fatal):
            mark = 'FATAL' if finding.fatal else 'note '
            lines.append(f'  {mark} {finding.count:>6} {finding.kind}, e.g. {finding.example}: {KINDS[finding.kind][1]}')
        return printable('\n'.join(lines if self.findings else [*lines, '  nothing found']))


def check_split(
    ann_file: str | Path,
    image_folder: str | Path,
    priors: Priors | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Check an annotation file and decode every image that it names.

    Args:
        ann_file: annotations in COCO format.
        image_folder: the folder that the file names are relative to.
        priors: the anchors or points of the head, from :func:`~.priors.priors_of`; None skips the comparison.
        progress: wraps the iteration over the images, to display progress.

    Raises:
        FileNotFoundError: no such annotation file.
        UserError: the file is not in COCO format. Findings do not raise, see :class:`Report`.
    """
    ann_file, content = Path(ann_file), read_coco(Path(ann_file))
    problems = list(entry_problems(content))
    if not problems:  # every entry has the fields that the other checks read
        problems += [*box_problems(content), *content_problems(content)]
        if priors is not None:
            problems += prior_problems(content, priors)
        problems += image_problems(content['images'], Path(image_folder), progress)
    counts, examples = Counter(kind for kind, _ in problems), dict(reversed(problems))
    findings = tuple(Finding(kind, counts[kind], examples[kind]) for kind in KINDS if kind in counts)
    return Report(ann_file, len(content['images']), len(content['annotations']), len(content['categories']), findings)


def check_config(cfg: Config, splits: Sequence[str] = SPLITS, progress: Progress = no_progress) -> Iterator[Report]:
    """Check the splits that a detector's config reads, against the anchors or points of its head.

    A file that two splits share is checked once.

    Raises:
        FileNotFoundError, UserError: as :func:`check_split`.
    """
    priors = priors_of(cfg)
    pairs = [(split.ann_file, split.images) for name, split in splits_of(cfg).items() if name in splits]
    for ann_file, images in dict.fromkeys(pairs):
        yield check_split(ann_file, images, priors, progress)


def check_root(root: Path, progress: Progress = no_progress) -> Iterator[Report]:
    """Check every split of a data set, in a format of :func:`~.coco.find_layout` or as class folders (``train/<class>/*.jpg``).

    Raises:
        FileNotFoundError, UserError: as :func:`check_split`, :func:`~.coco.find_layout` and :func:`check_class_folders`.
    """
    folders = [root / split for split in ('train', 'val') if (root / split).is_dir()]
    if folders and not any(find_ann_file(root, split) for split in SPLITS) and find_reader(root) is None:
        yield from check_class_folders(folders, progress)
        return
    layout = find_layout(root)
    for split in filter(None, (layout.train, layout.val, layout.test)):
        yield check_split(split.ann_file, split.images, progress=progress)


def class_roots(cfg: Config) -> list[Path]:
    """The folders of class folders that the config of a classifier reads, train first."""
    found = []
    for split in SPLITS:
        data = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {})
        folder = data.get('folder') or Path(data.get('data_root', ''), data.get('split') or data.get('data_prefix') or '')
        found.append(Path(folder))
    return list(dict.fromkeys(found))


def check_class_folders(roots: Sequence[Path], progress: Progress = no_progress) -> Iterator[Report]:
    """Check folders that contain one folder of images per class: all have the same classes, and every image decodes.

    Raises:
        FileNotFoundError, UserError: a folder or a class is missing, or a class has no image.
    """
    for root in roots:
        names, files = check_classes(root), class_folders(root)
        paths = [path for name in names for path in files[name]]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            broken = [text for text in progress(pool.map(_read_error, paths), len(paths)) if text]
        findings = (Finding('unreadable images', len(broken), broken[0]),) if broken else ()
        yield Report(root, len(paths), None, len(names), findings)


def _read_error(path: str) -> str | None:
    try:
        image_size(path)
    except (UserError, FileNotFoundError) as error:
        return _without_advice(error)
    return None


def _without_advice(error: Exception) -> str:
    """Return the message of the image reader without its last clause; a finding has its own advice."""
    return str(error).rpartition('; ')[0] or str(error)


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number below 1e15, so that it has a place in numpy's and OpenCV's types."""
    return isinstance(value, int | float) and abs(value) < LARGEST  # False for NaN, too


def is_id(value: object) -> bool:
    """Whether pycocotools accepts a JSON value as the id of an image: a number or a text."""
    return isinstance(value, str) or is_number(value)


def describe(annotation: dict, image: dict) -> str:
    """An annotation as text: its id and box, and the name and size of its image."""
    return f'annotation {annotation["id"]}, {annotation["bbox"]} in {image["file_name"]} ({image["width"]}x{image["height"]})'


def entry_problems(content: dict) -> Iterator[Problem]:
    """Find absent fields that mmdet or pycocotools reads, and duplicate ids."""
    for image in content['images']:
        named = isinstance(image.get('file_name'), str) and is_id(image.get('id'))
        if not (named and is_number(image.get('width')) and is_number(image.get('height'))):
            yield 'images with a missing field', str(image)[:150]
    for annotation in content['annotations']:
        fields, box = ('id', 'category_id', 'area', 'iscrowd'), annotation.get('bbox')
        valid = isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and is_id(annotation.get('image_id'))
        if not (valid and all(is_number(annotation.get(key)) for key in fields)):
            yield 'annotations with a missing field', str({k: v for k, v in annotation.items() if k != 'segmentation'})[:150]
    for key, kind in (('images', 'image'), ('annotations', 'annotation'), ('categories', 'category')):
        counts = Counter(as_key(entry.get('id')) for entry in content[key])  # 1, 1.0 and true are one id
        yield from ((f'duplicate {kind} ids', f'id {number}') for number, count in counts.items() if count > 1)


def box_problems(content: dict) -> Iterator[Problem]:
    """Find boxes with the id 0, of an undefined image or category, without area, or outside their image."""
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        if annotation['id'] == 0:
            yield 'annotations with the id 0', f'{annotation["bbox"]} of image {annotation["image_id"]}'
        image = images.get(annotation['image_id'])
        if image is None:
            yield 'annotations of an undefined image', f'annotation {annotation["id"]} of image {annotation["image_id"]}'
            continue
        example = partial(describe, annotation, image)
        if annotation['category_id'] not in categories:
            yield 'annotations of an undefined category', f'category {annotation["category_id"]}, {example()}'
        x, y, w, h = annotation['bbox']
        excess = max(-x, -y, x + w - image['width'], y + h - image['height'])
        if w < 1 or h < 1 or annotation['area'] <= 0:
            yield 'boxes without area', example()
        elif not is_inside(annotation, image):
            yield 'boxes completely outside the image', example()
        elif excess > SLACK:
            yield 'boxes partly outside the image', example()


def is_inside(annotation: dict, image: dict) -> bool:
    """Whether a box overlaps its image."""
    x, y, w, h = annotation['bbox']
    return x < image['width'] and y < image['height'] and x + w > 0 and y + h > 0


def usable_boxes(content: dict) -> Iterator[tuple[dict, dict]]:
    """The annotations that mmdet trains on, each with its image: with area, inside, defined, not ignored, not a crowd."""
    images = {image['id']: image for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        image, (_, _, w, h) = images.get(annotation['image_id']), annotation['bbox']
        if image is None or annotation['category_id'] not in categories or annotation['iscrowd'] or annotation.get('ignore'):
            continue
        if annotation['area'] > 0 and w >= 1 and h >= 1 and is_inside(annotation, image):
            yield annotation, image


def content_problems(content: dict) -> Iterator[Problem]:
    """Find files without images or usable boxes, and images and categories without boxes."""
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
    only_crowds = annotated - {annotation['image_id'] for annotation in content['annotations'] if not annotation['iscrowd']}
    for image in content['images']:
        if image['id'] not in annotated:
            yield 'images without boxes', image['file_name']
        elif image['id'] in only_crowds:
            yield 'images with only crowd annotations', image['file_name']


def prior_problems(content: dict, priors: Priors) -> Iterator[Problem]:
    """Find boxes that the anchors or points of the head do not fit.

    Args:
        content: the annotations.
        priors: of the head; boxes are scaled to the same fractions of their image.
    """
    usable = list(usable_boxes(content))
    sample = usable[:: -(-len(usable) // PRIOR_SAMPLE)] if usable else []
    boxes = np.array(
        [(*annotation['bbox'], image['width'], image['height']) for annotation, image in sample], np.float32
    ).reshape(-1, 6)
    sides = boxes[:, 4:]
    boxes = np.concatenate([boxes[:, :2] / sides, (boxes[:, :2] + boxes[:, 2:4]) / sides], 1).clip(0, 1)
    missed = np.flatnonzero(priors.missed(boxes))
    share = f'{len(missed) / max(len(sample), 1):.1%} of {len(sample)} boxes'
    yield from ((priors.kind, f'{share}, {describe(*sample[index])}') for index in missed)


def image_problems(images: list[dict], folder: Path, progress: Progress) -> Iterator[Problem]:
    """Decode all images on all cores; the decoders release Python's lock."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for problem in progress(pool.map(partial(image_problem, folder), images), len(images)):
            if problem is not None:
                yield problem


def image_problem(folder: Path, image: dict) -> Problem | None:
    """The problem of one image file, or None; the file is read as training and prediction read it."""
    path = folder / image['file_name']
    shown = os.path.normpath(path)  # file names of a converted set begin with ..
    if not os.path.isfile(path):  # False for names that no file can have
        return 'missing images', shown
    try:
        size = image_size(path)
    except UserError as error:
        return 'unreadable images', _without_advice(error).replace(str(path), shown)
    if size != (image['width'], image['height']):
        stated = f'{image["width"]}x{image["height"]}'
        return 'images of another size than in the file', f'{shown} is {size[0]}x{size[1]}, not {stated}'
    return None

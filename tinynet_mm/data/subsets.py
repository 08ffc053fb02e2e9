"""Draw ImageNet-100 (TinyNet, section 4.1): 100 classes of ImageNet, 500 training images each, and their validation images.

The paper publishes neither its classes nor its images. They are drawn here with a seed, and the list is written next to the
subset. Classes are drawn from the sorted folder names, so the same ImageNet and the same seed give the same subset.
"""

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import atomic, make_folder, read_json, write_json
from .folders import check_classes, class_folders, class_names

LISTING = 'subset.json'


@dataclass(frozen=True)
class Subset:
    """The drawn class names, and for each split the file names by class, relative to the source."""

    seed: int
    source: str
    classes: list[str]
    train: dict[str, list[str]] = field(default_factory=dict)
    val: dict[str, list[str]] = field(default_factory=dict)

    def count(self) -> dict[str, int]:
        """The number of images in each split."""
        return {split: sum(map(len, getattr(self, split).values())) for split in ('train', 'val')}


def draw(source: str | Path, seed: int = 0, classes: int = 100, train: int = 500, val: int = 50) -> Subset:
    """Draw a subset of an image folder with ``train`` and ``val``.

    Args:
        source: folder with ``train/<class>/`` and ``val/<class>/``.
        seed: of the random choice.
        classes: number of classes.
        train: number of training images per class.
        val: number of validation images per class.

    Raises:
        FileNotFoundError, UserError: the layout is wrong (see :mod:`tinynet_mm.data.folders`), or classes or images are too few.
    """
    source = Path(source)
    if min(classes, train, val) < 1 or seed < 0:
        raise UserError(f'{classes} classes of {train} and {val} images, seed {seed}: give at least 1, and a seed of 0 or above.')
    class_names(source / 'val')
    names = check_classes(source / 'train')
    if len(names) < classes:
        raise UserError(f'{source / "train"}: {len(names)} classes, {classes} requested; request fewer (--classes).')
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.choice(names, classes, replace=False).tolist())
    drawn = {split: _draw_files(source / split, chosen, count, rng) for split, count in (('train', train), ('val', val))}
    return Subset(seed, str(source.resolve()), chosen, **drawn)


def _draw_files(split: Path, chosen: list[str], count: int, rng: np.random.Generator) -> dict[str, list[str]]:
    drawn = {}
    for name, files in class_folders(split, chosen).items():
        if len(files) < count:
            raise UserError(f'{split / name}: {len(files)} images, {count} requested; unpack the rest, or request fewer.')
        drawn[name] = sorted(os.path.basename(path) for path in rng.permutation(files)[:count].tolist())
    return drawn


def make(subset: Subset, target: str | Path, copy: bool = False) -> Path:
    """Write the subset as folders of links (or of copies), and its list to ``subset.json``; returns the path of this file.

    An incomplete copy of the same subset is completed, so a stopped run can be started again.

    Raises:
        UserError: the folder contains another subset, or cannot be written.
    """
    target = Path(target)
    if Path(subset.source) in (target.resolve(), *target.resolve().parents):
        raise UserError(f'{target} is in the source {subset.source}, which would get a copy of itself; give another folder.')
    listing = target / LISTING
    if listing.exists() and read_json(listing) != asdict(subset):
        raise UserError(f'{target} contains another subset (see {listing}); give another folder, or remove this one.')
    write_json(listing, asdict(subset), indent=1)
    for split in ('train', 'val'):
        for name, files in getattr(subset, split).items():
            _write_files(Path(subset.source) / split / name, target / split / name, files, copy)
    return listing


def _write_files(source: Path, target: Path, files: list[str], copy: bool) -> None:
    make_folder(target)
    for name in files:
        if (target / name).exists():
            continue
        if copy:
            with atomic(target / name) as temporary:
                shutil.copyfile(source / name, temporary)
        else:
            (target / name).symlink_to(source / name)

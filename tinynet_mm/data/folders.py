"""Image folders, one sub-folder a class (the layout of ImageNet): finding the files, and plain words for what is wrong.

TinyNet (NeurIPS 2020), section 4.1 trains on ImageNet and ImageNet-100; nothing here needs torch or MMLab.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError, listed

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')


def class_names(split: str | Path) -> list[str]:
    """Names of the class folders, sorted.

    Raises:
        FileNotFoundError: ``split`` does not exist.
        UserError: it holds no class folders.
    """
    if not os.path.isdir(split):
        raise FileNotFoundError(f'{split}: no such folder; it should hold one folder of images for each class.')
    names = _folders(split)
    if not names:
        raise UserError(_without_classes(split))
    return names


def class_folders(split: str | Path, names: list[str] | None = None) -> dict[str, list[str]]:
    """Class name -> paths of its image files, both sorted; of the classes ``names`` only, where given.

    Raises:
        FileNotFoundError, UserError: as :func:`class_names`, and a class folder without an image.
    """
    images = {name: _images(os.path.join(split, name)) for name in names or class_names(split)}
    if empty := [name for name, files in images.items() if not files]:
        suffixes = ', '.join(IMAGE_SUFFIXES)
        raise UserError(
            f'{split}: {_some(empty)} without an image ({suffixes}); fill the folder, or remove the class everywhere.'
        )
    return images


def check_classes(split: str | Path, expected: int | None = None) -> list[str]:
    """The class names of ``split``, held against the splits beside it and against their ``expected`` number.

    Raises:
        UserError: a class is missing here or there, named where a folder beside this one knows it.
    """
    split, names = Path(split), class_names(split)
    for other in (split.parent / name for name in ('train', 'val') if name != split.name):
        theirs = set(_folders(other)) if other.is_dir() else set()
        if theirs and (missing := sorted(theirs - set(names))):
            raise UserError(f'{split}: {_some(missing)} missing, present in {other}; unpack or copy what is missing.')
        if theirs and (missing := sorted(set(names) - theirs)):
            raise UserError(f'{other}: {_some(missing)} missing, present in {split}; unpack or copy what is missing.')
    if expected is not None and len(names) != expected:
        raise UserError(f'{split}: {len(names)} class folders, {expected} expected; unpack what is missing, or fix num_classes.')
    return names


def named_classes(root: Path) -> list[str]:
    """The classes of a data set in ``root``: names of its class folders, or the categories of its COCO annotations.

    Raises:
        FileNotFoundError, UserError: neither is in the folder.
    """
    for split in ('train', 'val'):
        if (root / split).is_dir() and (names := _folders(root / split)):
            return names
    from .coco import find_layout

    return list(find_layout(root).classes)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Image files, and those directly in folders, sorted.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without images.
    """
    files = []
    for path in paths:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise FileNotFoundError(f'{path}: no such image, or a folder without images ({", ".join(IMAGE_SUFFIXES)}).')
        files += found
    return files


def _folders(folder: str | Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _images(folder: str | Path) -> list[str]:
    return sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))


def _some(names: list[str], limit: int = 5) -> str:
    return f'{"class" if len(names) == 1 else "classes"} {listed(names, limit)}'


def _without_classes(split: str | Path) -> str:
    loose = len(_images(split))
    if not loose:
        return f'{split}: empty; it should hold one folder of images for each class.'
    return (
        f'{split}: {loose} images without class folders. Move each image into a folder named after its class, as in the training '
        'folder (ImageNet: the labels are in ILSVRC2012_validation_ground_truth.txt of the development kit).'
    )

"""Find the images in folders with one sub-folder per class (the layout of ImageNet), and report what is wrong with them.

TinyNet (NeurIPS 2020), section 4.1 trains on ImageNet and ImageNet-100. This module needs neither torch nor MMLab.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError, listed
from ..files import check_names

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')


def class_names(split: str | Path) -> list[str]:
    """Names of the class folders, sorted.

    Raises:
        FileNotFoundError: ``split`` does not exist.
        UserError: it contains no class folders, or one whose name is too long to draw or that MMEngine evaluates in a config.
    """
    if not os.path.isdir(split):
        raise FileNotFoundError(f'{split}: no such folder; give a folder that contains one folder of images per class.')
    names = _folders(split)
    if not names:
        raise UserError(_without_classes(split))
    check_names(names, split)
    return names


def class_folders(split: str | Path, names: list[str] | None = None) -> dict[str, list[str]]:
    """The image files of each class: class name -> paths, both sorted; only of the classes ``names`` if given.

    Raises:
        FileNotFoundError, UserError: as :func:`class_names`; or a class folder has no image.
    """
    images = {name: _images(os.path.join(split, name)) for name in names or class_names(split)}
    if empty := [name for name, files in images.items() if not files]:
        suffixes = ', '.join(IMAGE_SUFFIXES)
        raise UserError(
            f'{split}: {_class_list(empty)} without an image ({suffixes}); add images, or remove the class from every split.'
        )
    return images


def check_classes(split: str | Path, expected: int | None = None) -> list[str]:
    """The class names of ``split``, compared with the train and val folders next to it and with their ``expected`` number.

    Raises:
        FileNotFoundError: ``split`` does not exist.
        UserError: a class is missing in one of the folders (the message names it), or the number differs.
    """
    split, names = Path(split), class_names(split)
    for other in (split.parent / name for name in ('train', 'val') if name != split.name):
        others = set(_folders(other)) if other.is_dir() else set()
        if others and (missing := sorted(others - set(names))):
            raise UserError(f'{split}: {_class_list(missing)} missing, present in {other}; unpack or copy what is missing.')
        if others and (missing := sorted(set(names) - others)):
            raise UserError(f'{other}: {_class_list(missing)} missing, present in {split}; unpack or copy what is missing.')
    if expected is not None and len(names) != expected:
        raise UserError(f'{split}: {len(names)} class folders, {expected} expected; unpack what is missing, or fix num_classes.')
    return names


def named_classes(root: Path) -> list[str]:
    """The classes of a data set in ``root``: the names of its class folders, or the categories of its annotations.

    Raises:
        FileNotFoundError, UserError: the folder contains neither.
    """
    from .coco import find_layout
    from .convert import find_reader

    for split in ('train', 'val') if root.is_dir() and find_reader(root) is None else ():
        if (root / split).is_dir() and (names := _folders(root / split)):
            return list(check_names(names, root / split))
    return list(find_layout(root).classes)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files of ``paths``: files as given, and the images directly in each folder, sorted.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has no images.
    """
    files = []
    for path in paths:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise FileNotFoundError(f'{path}: no such image, or a folder without images ({", ".join(IMAGE_SUFFIXES)}).')
        files += found
    return files


def images_in(folder: Path) -> list[Path]:
    """The images in a folder and its sub-folders, sorted; none is no error."""
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.'))


def folder_images(folder: Path) -> list[Path]:
    """The images in a folder and its sub-folders, sorted.

    Raises:
        FileNotFoundError: no such folder.
        UserError: a folder without images.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder; give a folder with images.')
    files = images_in(folder)
    if not files:
        raise UserError(f'{folder} has no images ({", ".join(IMAGE_SUFFIXES)}): give a folder with images.')
    return files


def _folders(folder: str | Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith('.'))


def _images(folder: str | Path) -> list[str]:
    return sorted(entry.path for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))


def _class_list(names: list[str], limit: int = 5) -> str:
    return f'{"class" if len(names) == 1 else "classes"} {listed(names, limit)}'


def _without_classes(split: str | Path) -> str:
    count = len(_images(split))
    if not count:
        return f'{split}: no images; put one folder of images per class into it.'
    return (
        f'{split}: {count} images without class folders. Move each image into a folder named after its class, as in the training '
        'folder (ImageNet: the labels are in ILSVRC2012_validation_ground_truth.txt of the development kit).'
    )

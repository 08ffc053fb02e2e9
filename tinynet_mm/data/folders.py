"""Image folders, one sub-folder a class (the layout of ImageNet): finding the files and saying plainly what is wrong with a layout.

TinyNet (NeurIPS 2020), section 4.1 trains on ImageNet and ImageNet-100; nothing here needs torch or MMLab.
"""

from pathlib import Path

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')


def class_folders(split: str | Path) -> dict[str, list[Path]]:
    """Class name -> its image files, both sorted.

    Raises:
        FileNotFoundError: ``split`` does not exist.
        ValueError: it holds no class folders, or a class folder without an image.
    """
    split = Path(split)
    if not split.is_dir():
        raise FileNotFoundError(f'{split}: no such folder; it should hold one folder of images for each class.')
    folders = sorted(path for path in split.iterdir() if path.is_dir() and not path.name.startswith('.'))
    if not folders:
        raise ValueError(_without_classes(split))
    images = {folder.name: _images(folder) for folder in folders}
    if empty := [name for name, files in images.items() if not files]:
        raise ValueError(
            f'{split}: {_some(empty)} without an image ({", ".join(IMAGE_SUFFIXES)}); fill the class folder, or remove it everywhere.'
        )
    return images


def check_classes(split: str | Path, names: list[str], expected: int | None = None) -> None:
    """Hold the class folders of ``split`` against ``expected``, their number, and against the splits beside it.

    Raises:
        ValueError: a class is missing here or there, named where a folder beside this one knows it.
    """
    split = Path(split)
    for other in (split.parent / name for name in ('train', 'val') if name != split.name):
        if other.is_dir() and (theirs := {path.name for path in other.iterdir() if path.is_dir()}):
            if missing := sorted(theirs - set(names)):
                raise ValueError(f'{split}: {_some(missing)} missing, present in {other}; add or unpack what is missing.')
            if surplus := sorted(set(names) - theirs):
                raise ValueError(f'{other}: {_some(surplus)} missing, present in {split}; add or unpack what is missing.')
    if expected is not None and len(names) != expected:
        raise ValueError(
            f'{split}: {len(names)} class folders, but the network has {expected} classes; compare the folder with its source.'
        )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)


def _some(names: list[str], limit: int = 5) -> str:
    more = f' and {len(names) - limit} more' if len(names) > limit else ''
    return f'{"class" if len(names) == 1 else "classes"} {", ".join(names[:limit])}{more}'


def _without_classes(split: Path) -> str:
    loose = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in split.iterdir())
    if not loose:
        return f'{split}: empty; it should hold one folder of images for each class.'
    return (
        f'{split}: {loose} images without class folders. Sort each image into a folder named after its class, as in the training folder '
        '(for ImageNet: the labels are in the development kit, ILSVRC2012_validation_ground_truth.txt, and common scripts called valprep.sh do it).'
    )

"""Read and write images: one reader for prediction, activation maps, the data check and figures, with the pixels of training.

Training decodes with OpenCV (mmcv's LoadImageFromFile), which applies the EXIF orientation and converts 16-bit, grey, palette
and CMYK images to 8-bit BGR, but fills a truncated file with grey. Pillow opens every file first here, because it refuses
truncated files and images of more than 179 million pixels. Python reads and writes the files, because OpenCV crashes on a file
name that is not UTF-8.
"""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import UserError
from ..files import write_bytes

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB; the fill colour of mmdet's SSD configs
EXIF_ORIENTATION = 0x0112
JPEG_START = b'\xff\xd8'
JPEG_END = b'\xff\xd9'
PNG_START = b'\x89PNG\r\n\x1a\n'
BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # exceptions of Pillow for broken files


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 BGR, rotated by its EXIF orientation.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is not an image, or is truncated.
    """
    data = _read_bytes(path)
    check_complete(path, data, thorough=False)
    return _decode(path, data)


def _decode(path: str | Path, data: bytes, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    if data.startswith(PNG_START) and not _parts_fit(data):
        raise _not_readable(path, 'a part of the file is missing')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    except cv2.error as error:  # for instance more pixels than OpenCV decodes
        raise _not_readable(path, f'OpenCV cannot decode it: {error.err}') from error
    if image is None:
        raise _not_readable(path, 'OpenCV cannot decode this format' if data else 'the file is empty')
    return image


def _parts_fit(data: bytes) -> bool:
    """Whether the parts of a PNG are as long as they state; OpenCV allocates what they state, up to 2 GB for 100 bytes."""
    start = len(PNG_START)
    while start < len(data) and data[start + 4 : start + 8] != b'IEND':
        start += 12 + int.from_bytes(data[start : start + 4], 'big')
    return start <= len(data)


def _check_regular(path: str | Path) -> None:
    """Raise for a path that is missing, a folder, or a pipe, which would never be read to its end."""
    if not os.path.exists(path):
        raise FileNotFoundError(f'{path}: no such image; check the path.')
    if not os.path.isfile(path):
        raise _not_readable(path, 'not a regular file')


def _read_bytes(path: str | Path) -> bytes:
    _check_regular(path)
    with open(path, 'rb') as file:
        return file.read()


def check_complete(path: str | Path, data: bytes, thorough: bool = True) -> tuple[int, int] | None:
    """Decode a complete file with Pillow; returns width and height as in training, None for a format that only OpenCV reads.

    Args:
        path: of the file, for messages.
        data: its content.
        thorough: also decode a JPEG that ends with its end marker, and so is not truncated. This finds damage inside the file,
            and takes as long as reading the image.

    Raises:
        UserError: the file is truncated or broken.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            width, height = picture.size
            rotated = picture.getexif().get(EXIF_ORIENTATION, 1) >= 5  # orientations 5 to 8 swap the sides
            if thorough or picture.format != 'JPEG' or not data.endswith(JPEG_END):
                # a JPEG is read completely, but decoded at an eighth of its size
                picture.draft('L', (-(-width // 8), -(-height // 8)))
                picture.load()
    except UnidentifiedImageError:
        return None
    except BROKEN as error:
        raise _not_readable(path, str(error)) from error
    return (height, width) if rotated else (width, height)


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image in pixels as in training; decodes the complete file. Raises as :func:`read_image`."""
    data = _read_bytes(path)
    size = check_complete(path, data)
    reduced = size is not None and min(size) >= 8  # OpenCV does not reduce an image to less than a pixel
    image = _decode(path, data, cv2.IMREAD_REDUCED_COLOR_8 if reduced else cv2.IMREAD_COLOR)
    return size or image.shape[1::-1]


def header_size(path: str | Path) -> tuple[int, int]:
    """Width and height of an image in pixels as in training, from the header if Pillow supports the format.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is not an image.
    """
    _check_regular(path)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            return (height, width) if picture.getexif().get(EXIF_ORIENTATION, 1) >= 5 else (width, height)
    except (UnidentifiedImageError, *BROKEN):
        return image_size(path)


def check_header(path: str | Path) -> None:
    """Check that a file starts as an image; reads only the header if Pillow supports the format.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file is not an image.
    """
    _check_regular(path)
    try:
        with Image.open(path):
            return
    except UnidentifiedImageError:
        _decode(path, _read_bytes(path))
    except BROKEN as error:  # also an image of more pixels than Pillow decodes, which OpenCV would decode into gigabytes
        raise _not_readable(path, str(error)) from error


def is_cut(path: str | Path) -> bool:
    """Whether a JPEG is truncated, which OpenCV does not report; a file with the end marker is not decoded."""
    if not os.path.isfile(path):
        return False
    with open(path, 'rb') as file:
        if file.read(len(JPEG_START)) != JPEG_START:
            return False
        file.seek(-len(JPEG_END), os.SEEK_END)
        return file.read() != JPEG_END and not decodes(path)


def decodes(path: str | Path) -> bool:
    """Whether a file is a complete image."""
    try:
        read_image(path)
    except (UserError, OSError):
        return False
    return True


def _not_readable(path: str | Path, reason: str) -> UserError:
    return UserError(f'{path} is not an image that can be read ({reason}); remove it or save it again.')


def write_image(path: str | Path, image: np.ndarray, quality: int = 95) -> Path:
    """Encode an (H, W, 3) uint8 BGR image by the suffix of ``path`` and write it atomically.

    Args:
        path: the file; missing folders are created.
        image: the pixels.
        quality: of a JPEG, 0 to 100.

    Raises:
        UserError: OpenCV cannot encode this format, or the file cannot be written.
    """
    try:
        done, encoded = cv2.imencode(Path(path).suffix, image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    except cv2.error:  # no encoder for this suffix
        done = False
    if not done:
        raise UserError(f'{path}: OpenCV cannot write this format; choose .jpg or .png.')
    return write_bytes(path, encoded.tobytes())


class UniqueNames:
    """Unique names for the outputs of many files: the stem, and ``stem-2`` for a second file with the same stem."""

    def __init__(self) -> None:
        self._taken: dict[str, Path] = {}

    def __call__(self, path: Path) -> str:
        """The name for a file; equal paths get the same name."""
        number, name = 1, path.stem
        while self._taken.setdefault(name, path) != path:
            number += 1
            name = f'{path.stem}-{number}'
        return name


def unique_names(paths: Iterable[Path]) -> Sequence[str]:
    """The names for the outputs of files, in their order, see :class:`UniqueNames`."""
    names = UniqueNames()
    return [names(path) for path in paths]

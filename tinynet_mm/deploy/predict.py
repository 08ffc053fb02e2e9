"""Detect objects in image files or a video with any detector: rows in the form of COCO results, drawn images, a drawn video.

A detector is a callable from BGR images to :class:`~tinynet_mm.deploy.runtime.Detections`, so that exported files and models in
torch share this code. It needs neither torch nor matplotlib; OpenCV draws.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from ..data.images import read_image, unique_names, write_image
from ..errors import UserError, printable, without_stderr
from ..files import atomic, check_not_inputs
from .runtime import BATCH, Detections

Detect = Callable[[Sequence[np.ndarray]], Sequence[Detections]]

FONT, SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
FRAME_RATE = 25.0  # of the written video, if the source does not say it
SMOOTHING = 0.9  # of the shown frames a second: share of the time of earlier frames


def rows_of(path: Path, found: Detections) -> list[dict]:
    """The detections in the fields of COCO results, with names instead of ids."""
    rows = []
    for (x1, y1, x2, y2), name, score in zip(found.boxes, found.names, found.scores):
        box = [round(float(v), 2) for v in (x1, y1, x2 - x1, y2 - y1)]
        rows.append(dict(file_name=str(path), category=name, bbox=box, score=round(float(score), 4)))
    return rows


def colour(label: int) -> tuple[int, int, int]:
    """A BGR colour for a class; neighbouring labels have distant hues."""
    hsv = np.array([[[round(label * 0.618034 % 1 * 179), 230, 230]]], np.uint8)  # OpenCV's hues end at 179
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def draw(image: np.ndarray, found: Detections) -> np.ndarray:
    """A copy of the BGR image with boxes, classes and scores."""
    picture = image.copy()
    for (x1, y1, x2, y2), label, name, score in zip(found.boxes.tolist(), found.labels.tolist(), found.names, found.scores):
        start, end = (round(x1), round(y1)), (round(x2), round(y2))
        cv2.rectangle(picture, start, end, colour(label), 2)
        write_label(picture, f'{name} {score:.2f}', start, colour(label))
    return picture


def write_label(picture: np.ndarray, text: str, corner: tuple[int, int], background: tuple[int, int, int]) -> None:
    """Write black text on a coloured rectangle into an image, above ``corner`` and inside the image."""
    text = printable(text)  # OpenCV crashes on text that UTF-8 cannot encode
    (width, height), _ = cv2.getTextSize(text, FONT, SCALE, 1)
    x = max(0, min(corner[0], picture.shape[1] - width))
    y = max(height + 6, min(corner[1], picture.shape[0]))
    cv2.rectangle(picture, (x, y - height - 6), (x + width, y), background, cv2.FILLED)
    cv2.putText(picture, text, (x, y - 4), FONT, SCALE, (0, 0, 0), 1, cv2.LINE_AA)


def predict_folder(detect: Detect, files: Sequence[Path], out: Path) -> tuple[list[dict], list[str]]:
    """Detect in all files and write each drawn image into ``out``; images that cannot be read are left out.

    Args:
        detect: a detector.
        files: image files.
        out: folder of the drawn images.

    Returns:
        The rows of all detections, and a sentence for each image that cannot be read.

    Raises:
        UserError: a drawn image would replace one of the files; nothing is written.
    """
    names = dict(zip(files, unique_names(files)))
    check_not_inputs((out / f'{name}.jpg' for name in names.values()), files)
    rows: list[dict] = []
    broken: list[str] = []
    readable = _readable(files, broken)
    while batch := list(itertools.islice(readable, BATCH)):
        for (path, image), found in zip(batch, detect([image for _, image in batch])):
            rows += rows_of(path, found)
            write_image(out / f'{names[path]}.jpg', draw(image, found))
    return rows, broken


def _readable(files: Sequence[Path], broken: list[str]) -> Iterator[tuple[Path, np.ndarray]]:
    for path in files:
        try:
            yield path, read_image(path)
        except (UserError, FileNotFoundError) as error:
            broken.append(str(error))


def predict_video(detect: Detect, source: str, target: Path) -> tuple[int, float]:
    """Detect in each frame of a video and write the drawn frames, with the frames a second on the picture.

    Ctrl-C ends the video; the frames until then are kept.

    Args:
        detect: a detector.
        source: a video file, or the number of a camera.
        target: the file of the drawn video, in a format that OpenCV writes, such as .mp4.

    Returns:
        The number of frames, and the frames a second: from reading to writing, over the complete video.

    Raises:
        FileNotFoundError: no such file.
        UserError: a source that OpenCV cannot open, or that has no frames; a video that it cannot write, or the source itself.
    """
    if Path(source).exists() and target.exists() and target.samefile(source):
        raise UserError(f'{source} is also the file of the drawn video; choose another folder.')
    capture = _opened(source)
    started, count = time.perf_counter(), 0
    try:
        first = _next_frame(capture)
        if first is None:
            raise UserError(f'{source}: no frame can be read; choose another video or camera.')
        with atomic(target) as temporary:
            writer = _writer(temporary, target, capture.get(cv2.CAP_PROP_FPS), first.shape)
            try:
                with suppress(KeyboardInterrupt):
                    for frame in _timed(detect, capture, first):
                        writer.write(frame)
                        count += 1
            finally:
                writer.release()
    finally:
        capture.release()
    return count, count / (time.perf_counter() - started)


def _timed(detect: Detect, capture: cv2.VideoCapture, frame: np.ndarray | None) -> Iterator[np.ndarray]:
    """The drawn frames, from ``frame`` to the end of the video."""
    mean, before = math.nan, time.perf_counter()
    while frame is not None:
        (found,) = detect([frame])
        picture = draw(frame, found)
        spent = time.perf_counter() - before
        before += spent
        mean = spent if math.isnan(mean) else SMOOTHING * mean + (1 - SMOOTHING) * spent
        write_label(picture, f'{1 / mean:.1f} frames/s', (0, 0), (255, 255, 255))
        yield picture
        frame = _next_frame(capture)


def _next_frame(capture: cv2.VideoCapture) -> np.ndarray | None:
    done, frame = capture.read()
    return frame if done else None


def _opened(source: str) -> cv2.VideoCapture:
    if not source.isdigit() and '://' not in source and not Path(source).is_file():
        raise FileNotFoundError(f'{source}: no such video; pass a video file, or the number of a camera.')
    with without_stderr():
        capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        kind = f'camera {source}' if source.isdigit() else source
        raise UserError(f'{kind}: OpenCV cannot open this video; pass another file, or the number of a connected camera.')
    return capture


def _writer(path: Path, target: Path, rate: float, shape: tuple[int, ...]) -> cv2.VideoWriter:
    rate = rate if 0 < rate <= 1000 else FRAME_RATE
    with without_stderr():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, (shape[1], shape[0]))
    if not writer.isOpened():
        raise UserError(f'{target}: OpenCV cannot write this video; choose another path.')
    return writer

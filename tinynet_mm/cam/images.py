"""Images through the test pipeline of a config, and the position of each original pixel in the network's input.

A test pipeline may resize, crop and pad in ways that its meta information does not contain. So the position is measured: a
picture whose channels hold its x and y coordinates goes through the same pipeline, and a line is fitted to the output.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn

from ..data.images import check_header, read_image
from ..errors import UserError

RAMP = 200  # grey levels of the pictures that measure the pipeline; 255 marks the inside, padding is usually 0 or 114

Place = tuple[tuple[float, float], tuple[float, float]]  # scale and shift, (x, y) each


def check_images(files: Sequence[Path]) -> None:
    """Check that each file begins as an image; only headers are read, so that thousands of files take less than a second.

    Raises:
        FileNotFoundError: the first file that does not exist.
        UserError: the first file that is not an image.
    """
    for file in files:
        check_header(file)


def utf8_name(path: str | Path) -> str:
    r"""A path as text that can be encoded in UTF-8: a byte that is not UTF-8 becomes ``\xff``, so that names stay different."""
    return os.fsencode(path).decode(errors='backslashreplace')


@dataclass(frozen=True, eq=False)
class Sample:
    """An image as it is in its file and as the network gets it.

    Attributes:
        path: the file.
        picture: the original (H, W, 3), BGR, 8 bit.
        inputs: the network's input (1, 3, h, w).
        meta: mmdet's meta information.
        scale: with ``shift``: a point (x, y) of the original, in pixels from its top left corner, is at
            ``scale * (x, y) + shift`` in the input.
        shift: see ``scale``.
    """

    path: Path
    picture: np.ndarray
    inputs: Tensor
    meta: dict
    scale: tuple[float, float]
    shift: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.inputs.shape[-2], self.inputs.shape[-1]

    def to_original(self, box: Sequence[float]) -> np.ndarray:
        """Convert a box (x1, y1, x2, y2) from pixels of the input to pixels of the original."""
        return (np.asarray(box, dtype=float) - [*self.shift, *self.shift]) / [*self.scale, *self.scale]

    def to_input(self, box: Sequence[float]) -> np.ndarray:
        """Convert a box (x1, y1, x2, y2) from pixels of the original to pixels of the input."""
        return np.asarray(box, dtype=float) * [*self.scale, *self.scale] + [*self.shift, *self.shift]

    def put_back(self, values: np.ndarray) -> np.ndarray:
        """Convert a map (h, w) of the input to (H, W) of the original; zero where a crop removed the original."""
        (sx, sy), (tx, ty) = self.scale, self.shift
        matrix = np.array([[sx, 0, sx / 2 + tx - 0.5], [0, sy, sy / 2 + ty - 0.5]])  # centres of pixels are at a half
        height, width = self.picture.shape[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = cv2.warpAffine(
            np.asarray(values, np.float32), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE
        )
        xs, ys = sx * (np.arange(width) + 0.5) + tx, sy * (np.arange(height) + 0.5) + ty
        back[:, (xs < 0) | (xs > self.shape[1])] = 0  # a crop removed these
        back[(ys < 0) | (ys > self.shape[0])] = 0
        return back


class Pipeline:
    """A config's test pipeline without annotations, split after the loading of the file, and the model's data preprocessor.

    Raises:
        UserError: a config without a test pipeline, or a file that is not an image.
    """

    def __init__(self, cfg: Config, model: nn.Module):
        self.preprocess: Any = model.data_preprocessor
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        while 'pipeline' not in dataset and 'dataset' in dataset:
            dataset = dataset['dataset']
        steps = [s for s in dataset.get('pipeline', []) if 'Annotations' not in str(s['type'])]
        if not steps:
            raise UserError('the config has no test_dataloader with a pipeline: give a config with one.')
        if 'Load' not in str(steps[0]['type']):  # a data set of arrays, like CIFAR-10
            steps = [dict(type='LoadImageFromFile'), *steps]
        self.load, self.prepare = Compose(steps[:1]), Compose(steps[1:])
        self.places: dict[tuple[int, int], Place] = {}  # of each size of the original, measured once

    def __call__(self, path: Path) -> Sample:
        """Read and prepare an image file."""
        read_image(path)  # raises UserError for a broken file: the pipeline would crash, or fill it with grey
        loaded = self.load(dict(img_path=str(path), img_id=0))
        picture = loaded['img'].astype(np.uint8)
        shape = picture.shape[:2]
        if shape not in self.places:
            self.places[shape] = self._measure(loaded)
        packed = self.prepare(loaded)
        data = self.preprocess({key: [value] for key, value in packed.items()}, False)
        return Sample(path, picture, data['inputs'], data['data_samples'][0].metainfo, *self.places[shape])

    def _measure(self, loaded: dict) -> Place:
        """Scale and shift from the original to the input."""
        height, width = loaded['img'].shape[:2]
        ramp_x = np.round((np.arange(width) + 0.5) * RAMP / width)[None].repeat(height, axis=0)
        ramp_y = np.round((np.arange(height) + 0.5) * RAMP / height)[:, None].repeat(width, axis=1)
        marked = np.stack([ramp_x, ramp_y, np.full_like(ramp_x, 255)], axis=-1).astype(loaded['img'].dtype)
        seen = np.asarray(self.prepare({**loaded, 'img': marked})['inputs'], dtype=np.float32)  # (3, h, w)
        inside = seen[2] > 254  # neither padding nor the border with it
        if not inside.any() or seen[:2].max() > RAMP:
            raise UserError('the test pipeline changes colours; leave normalisation and channel order to the data preprocessor.')
        fits = [_line(seen[axis], inside, axis, side) for axis, side in ((0, width), (1, height))]
        return (fits[0][0], fits[1][0]), (fits[0][1], fits[1][1])


def _line(channel: np.ndarray, inside: np.ndarray, axis: int, side: int) -> tuple[float, float]:
    """Scale and shift along one axis from a ramp of 0 to RAMP over ``side`` pixels, by least squares."""
    across = 0 if axis == 0 else 1
    counts = inside.sum(axis=across)
    rows = np.flatnonzero(counts > 0)
    means = np.where(inside, channel, 0).sum(axis=across)[rows] / counts[rows]
    rows, means = (rows[1:-1], means[1:-1]) if len(rows) > 4 else (rows, means)  # edges are clamped
    slope, offset = np.polyfit(rows + 0.5, means / RAMP * side, 1)
    return 1 / slope, -offset / slope


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Group samples in batches of at most ``size`` with equal input shape: no padding changes a result."""
    waiting: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        group = waiting.setdefault(sample.shape, [])
        group.append(sample)
        if len(group) == size:
            yield waiting.pop(sample.shape)
    yield from waiting.values()


def to_batch(samples: Sequence[Sample]) -> tuple[Tensor, list[dict]]:
    """Combine samples of one shape to inputs (B, 3, h, w), and the meta information of each image."""
    return torch.cat([sample.inputs for sample in samples]), [sample.meta for sample in samples]

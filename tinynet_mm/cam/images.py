"""Images through a config's own test pipeline and back: which pixel of the original does the network see where?

A test pipeline may resize, crop and pad in ways that its meta information does not tell. So the way back is measured: a picture
whose channels hold its own x and y goes through the same pipeline, and a line is fitted to what comes out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from torch import Tensor, nn

from ..data.images import check_header, read_image
from ..errors import UserError

RAMP = 200  # grey levels of the pictures that measure the pipeline; 255 marks the inside, padding is usually 0 or 114


def check_images(files: Sequence[Path]) -> None:
    """Check that each file begins as an image; only headers are read, so that thousands take a moment.

    Raises:
        FileNotFoundError, UserError: the first file that is not an image.
    """
    for file in files:
        check_header(file)


@dataclass(frozen=True, eq=False)
class Sample:
    """``picture`` is the original (H, W, 3), BGR, 8 bit; ``inputs`` (1, 3, h, w) and ``meta`` are what the network gets.

    A point (x, y) of the original, in pixels from its top left corner, is at ``scale * (x, y) + shift`` in the input.
    """

    path: Path
    picture: np.ndarray
    inputs: Tensor
    meta: dict
    scale: tuple[float, float]
    shift: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input."""
        return tuple(self.inputs.shape[-2:])

    def to_original(self, box: Sequence[float]) -> np.ndarray:
        """A box of the input in pixels of the original, (x1, y1, x2, y2)."""
        return (np.asarray(box, dtype=float) - [*self.shift, *self.shift]) / [*self.scale, *self.scale]

    def to_input(self, box: Sequence[float]) -> np.ndarray:
        return np.asarray(box, dtype=float) * [*self.scale, *self.scale] + [*self.shift, *self.shift]

    def put_back(self, values: np.ndarray) -> np.ndarray:
        """A map (h, w) of the input as (H, W) on the original picture; zero where the network saw nothing of it."""
        (sx, sy), (tx, ty) = self.scale, self.shift
        matrix = np.float64([[sx, 0, sx / 2 + tx - 0.5], [0, sy, sy / 2 + ty - 0.5]])  # centres of pixels are at a half
        height, width = self.picture.shape[:2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        back = cv2.warpAffine(np.float32(values), matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        xs, ys = sx * (np.arange(width) + 0.5) + tx, sy * (np.arange(height) + 0.5) + ty
        back[:, (xs < 0) | (xs > self.shape[1])] = 0  # a crop left these out
        back[(ys < 0) | (ys > self.shape[0])] = 0
        return back


class Pipeline:
    """A config's test pipeline without annotations, split behind the loading of the file, and the model's data preprocessor.

    Raises:
        UserError: a config without a test pipeline.
    """

    def __init__(self, cfg: Config, model: nn.Module):
        self.preprocess = model.data_preprocessor
        dataset = cfg.get('test_dataloader', {}).get('dataset', {})
        while 'pipeline' not in dataset and 'dataset' in dataset:
            dataset = dataset['dataset']
        steps = [s for s in dataset.get('pipeline', []) if 'Annotations' not in str(s['type'])]
        if not steps:
            raise UserError('the config has no test_dataloader with a pipeline, which says how images are prepared.')
        if 'Load' not in str(steps[0]['type']):  # a data set that comes as arrays, like CIFAR-10
            steps = [dict(type='LoadImageFromFile'), *steps]
        self.load, self.prepare = Compose(steps[:1]), Compose(steps[1:])
        self.ways: dict[tuple[int, int], tuple] = {}  # of each size of original, measured once

    def __call__(self, path: Path) -> Sample:
        read_image(path)  # raises one sentence for a file that the pipeline would crash on, or fill with grey
        loaded = self.load(dict(img_path=str(path), img_id=0))
        picture = loaded['img'].astype(np.uint8)
        shape = picture.shape[:2]
        if shape not in self.ways:
            self.ways[shape] = self._measure(loaded)
        packed = self.prepare(loaded)
        data = self.preprocess({key: [value] for key, value in packed.items()}, False)
        return Sample(path, picture, data['inputs'], data['data_samples'][0].metainfo, *self.ways[shape])

    def _measure(self, loaded: dict) -> tuple[tuple[float, float], tuple[float, float]]:
        """Scale and shift, (x, y) each, of the way from the original to the input."""
        height, width = loaded['img'].shape[:2]
        ramp_x = np.round((np.arange(width) + 0.5) * RAMP / width)[None].repeat(height, axis=0)
        ramp_y = np.round((np.arange(height) + 0.5) * RAMP / height)[:, None].repeat(width, axis=1)
        marked = np.stack([ramp_x, ramp_y, np.full_like(ramp_x, 255)], axis=-1).astype(loaded['img'].dtype)
        seen = np.asarray(self.prepare({**loaded, 'img': marked})['inputs'], dtype=np.float32)  # (3, h, w)
        inside = seen[2] > 254  # neither padding nor a seam with it
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
    """Samples in batches of equal input shape, so that padding to a common shape cannot change a result."""
    waiting: dict[tuple[int, ...], list[Sample]] = {}
    for sample in samples:
        group = waiting.setdefault(sample.shape, [])
        group.append(sample)
        if len(group) == size:
            yield waiting.pop(sample.shape)
    yield from waiting.values()


def to_batch(samples: Sequence[Sample]) -> tuple[Tensor, list[dict]]:
    """Inputs (B, 3, h, w) of one shape, and the meta information of each image."""
    return torch.cat([sample.inputs for sample in samples]), [sample.meta for sample in samples]

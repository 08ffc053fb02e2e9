"""Small image sets held in memory: decoded once, cut into whole batches by indexing. For CIFAR-10 and sweeps of tiny networks.

A network of 20 M multiply-adds takes less time for an image than the usual pipeline of transforms does. Here a batch is one
gather from a (N, H, W, 3) array which crops, flips and pads by repeating the edge, all at once. Two ways to use it:
:func:`load_folder` and :func:`batches` in a loop of one's own, or ``MemoryImages`` and ``MemoryPreprocessor`` in a config of
MMEngine's Runner.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DATASETS, FUNCTIONS, MODELS
from torch import Tensor

from ..errors import UserError
from .folders import class_folders
from .images import read_image


@dataclass(frozen=True)
class Images:
    """``pixels`` (N, H, W, 3) uint8 RGB, ``labels`` (N,) int64, and the files they came from."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | Tensor) -> 'Images':
        """The chosen images only."""
        indices = torch.as_tensor(indices)
        paths = tuple(self.paths[i] for i in indices.tolist())
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices], paths=paths)

    def per_class(self, count: int, rng: np.random.Generator | None = None) -> 'Images':
        """At most ``count`` images of each class: the first ones, or drawn by ``rng``."""
        chosen = []
        for label in range(len(self.classes)):
            indices = np.flatnonzero(self.labels.numpy() == label)
            chosen.append(np.sort(rng.permutation(indices)[:count]) if rng else indices[:count])
        return self.take(np.concatenate(chosen))


@lru_cache(maxsize=4)
def load_folder(folder: str, size: int | None = None, broken: str = 'fatal', per_class: int = 0) -> Images:
    """Decode a folder of class folders; the result is kept, so that many trainings in a process share it.

    Args:
        folder: for instance ``cifar10/train``.
        size: side in pixels to which images are resized; None where all have one size already.
        broken: what to do with a file that does not decode: 'fatal' or 'skip'.
        per_class: read only the first files of each class; 0 reads all.

    Raises:
        FileNotFoundError, UserError: see :func:`class_folders`; a file that does not decode; images of different sizes.
    """
    found = class_folders(folder)
    arrays, labels, paths = [], [], []
    for label, files in enumerate(found.values()):
        for path in files[: per_class or None]:
            try:
                image = read_image(path)
            except UserError as error:
                if broken == 'skip':
                    continue
                raise UserError(
                    f"{path}: does not decode as an image; replace or remove it, or load with broken='skip'."
                ) from error
            arrays.append(_resized(image, size))
            labels.append(label)
            paths.append(path)
    if len({array.shape for array in arrays}) > 1:
        raise UserError(f'{folder}: images of different sizes; give size=, the side they are resized to.')
    pixels = torch.from_numpy(np.stack(arrays)[..., ::-1].copy())
    return Images(pixels, torch.tensor(labels), tuple(found), tuple(paths))


def _resized(image: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or image.shape[:2] == (size, size):
        return image
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=interpolation)


def gather(pixels: Tensor, indices: Tensor, pad: int = 0, flip: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Images ``indices`` as (B, 3, H, W) uint8, channels last in memory, on the device of ``pixels``.

    Args:
        pad: each image is moved by up to this many pixels in x and in y, its edge repeated (a random crop of the padded image).
        flip: mirror half of them.
    """
    if not pad and not flip:
        return pixels[indices].permute(0, 3, 1, 2)
    count, height, width = len(indices), pixels.shape[1], pixels.shape[2]
    device = pixels.device
    shift = torch.randint(-pad, pad + 1, (2, count, 1), generator=generator, device=device)
    rows = (torch.arange(height, device=device) + shift[0]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + shift[1]).clamp_(0, width - 1)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    flat = (indices[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    return pixels.view(-1, 3)[flat.view(-1)].view(count, height, width, 3).permute(0, 3, 1, 2)


def batches(
    images: Images, size: int, shuffle: bool = False, pad: int = 0, flip: bool = False, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of (B, 3, H, W) uint8 images and (B,) labels. A shuffled (training) epoch leaves its last, smaller batch out."""
    device = images.pixels.device
    order = (
        torch.randperm(len(images), generator=generator, device=device) if shuffle else torch.arange(len(images), device=device)
    )
    for indices in order.split(size):
        if len(indices) == size or not shuffle or len(images) < size:
            yield gather(images.pixels, indices, pad, flip, generator), images.labels[indices]


def normalise(batch: Tensor, mean: Tensor, std: Tensor, resolution: int | None = None) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, resolution, resolution) float; ``mean``, ``std`` (1, 3, 1, 1) are of pixels from 0 to 255."""
    batch = (batch.float() - mean) / std
    if resolution is None or resolution == batch.shape[-1]:
        return batch
    return F.interpolate(
        batch, size=(resolution, resolution), mode='bilinear', align_corners=False, antialias=batch.shape[-1] > resolution
    )


@DATASETS.register_module()
class MemoryImages(torch.utils.data.Dataset):
    """:func:`load_folder` as a data set that hands out whole batches; needs ``collate_fn=dict(type='whole_batch')``.

    Args:
        folder: the folder of class folders.
        size, broken: see :func:`load_folder`.
        pad, flip: random crop and mirroring, see :func:`gather`; for training.
        per_class: use only the first images of each class.
    """

    def __init__(
        self, folder: str, size: int | None = None, broken: str = 'fatal', pad: int = 0, flip: bool = False, per_class: int = 0
    ):
        self.images = load_folder(str(Path(folder)), size, broken, per_class)
        self.pad, self.flip = pad, flip
        self.metainfo = dict(classes=self.images.classes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> dict:
        chosen = torch.as_tensor(indices)
        inputs = gather(self.images.pixels, chosen, self.pad, self.flip)
        return dict(inputs=inputs, labels=self.images.labels[chosen], img_path=[self.images.paths[i] for i in indices])


@FUNCTIONS.register_module()
def whole_batch(batch: dict) -> dict:
    """The collate function of data sets that hand out whole batches: there is nothing left to do."""
    return batch


@MODELS.register_module()
class MemoryPreprocessor(BaseDataPreprocessor):
    """From a batch of ``MemoryImages`` to what mmpretrain's classifiers take: normalised, resized, labels as data samples.

    On a CPU the batch stays channels-last, as :class:`~tinynet_mm.training.FastCPUHook` wants it. ``batch_augments`` is
    there because mmpretrain passes it; mixup and the like belong to its own ClsDataPreprocessor.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], resolution: int | None = None, batch_augments: None = None):
        super().__init__()
        if batch_augments:
            raise UserError('MemoryPreprocessor: mixup and other batch augmentations need mmpretrain.ClsDataPreprocessor.')
        self.resolution = resolution
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        from mmpretrain.structures import DataSample

        inputs, labels = data['inputs'].to(self.device), data['labels'].to(self.device)
        inputs = normalise(inputs, self.mean, self.std, self.resolution)
        inputs = inputs.contiguous() if inputs.is_cuda else inputs
        return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(label) for label in labels.view(-1, 1)])


def read_from_files(cfg: Config) -> Config:
    """A config of this module changed to take images one by one from files, through mmpretrain's own pipeline; others stay.

    Images of the training's size get the same input but for rounding to 8 bits after resizing; larger ones are resized at once.
    """
    given = cfg.model.get('data_preprocessor') or {}
    if str(given.get('type')).split('.')[-1] != 'MemoryPreprocessor':
        return cfg
    steps = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    if side := given.get('resolution'):
        resize = dict(type='mmpretrain.Resize', scale=(side, side), backend='pillow', interpolation='bilinear')
        steps.insert(1, resize)
    numbers = dict(mean=given.mean, std=given.std, num_classes=cfg.model.head.num_classes)
    cfg.model.data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True, **numbers)
    cfg.test_dataloader = dict(dataset=dict(type='mmpretrain.CustomDataset', pipeline=steps))
    return cfg

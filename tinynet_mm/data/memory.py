"""Keep small image sets in memory: decode them once and index complete batches, for CIFAR-10 and sweeps of tiny networks.

A network of 20 M multiply-adds needs less time per image than the usual pipeline of transforms. Here a batch is one gather from
a (N, H, W, 3) array, which crops, flips and pads with the edge pixels in one step. There are two ways to use it:
:func:`load_folder` and :func:`batches` in a training loop, or ``MemoryImages`` and ``MemoryPreprocessor`` in a config of
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

from ..errors import UserError, listed
from .folders import class_folders
from .images import read_image


@dataclass(frozen=True)
class Images:
    """``pixels`` (N, H, W, 3) uint8 RGB, ``labels`` (N,) int64, the class names, and the paths of the N files."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int] | np.ndarray | Tensor) -> 'Images':
        """The images at ``indices``, (M,) integers, in this order."""
        indices = torch.as_tensor(indices)
        paths = tuple(self.paths[i] for i in indices.tolist())
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices], paths=paths)

    def per_class(self, count: int, rng: np.random.Generator | None = None) -> 'Images':
        """At most ``count`` images of each class: the first ones, or random ones if ``rng`` is given."""
        chosen = []
        for label in range(len(self.classes)):
            indices = np.flatnonzero(self.labels.numpy() == label)
            chosen.append(np.sort(rng.permutation(indices)[:count]) if rng else indices[:count])
        return self.take(np.concatenate(chosen))


@lru_cache(maxsize=4)
def load_folder(
    folder: str,
    size: int | None = None,
    broken: str = 'fatal',
    per_class: int = 0,
    share: tuple[float, float] = (0.0, 1.0),
) -> Images:
    """Decode a folder of class folders; the result is cached, so that all trainings in a process share it.

    Args:
        folder: for instance ``cifar10/train``.
        size: side in pixels of the resized images; None if all have the same size.
        broken: 'fatal' to raise an error for a file that does not decode, 'skip' to leave it out.
        per_class: the number of files to read from each class, the first ones of ``share``; 0 reads all.
        share: first and last part of the files of each class, in the order of their names: with (0, 0.9) for training and
            (0.9, 1) for validation, one folder is both, and no file is in both.

    Raises:
        FileNotFoundError, UserError: see :func:`~.folders.class_folders`; a file does not decode, or sizes differ.
    """
    found = class_folders(folder)
    parts = {name: _part(files, share) for name, files in found.items()}
    if empty := [name for name, files in parts.items() if not files]:
        first, last = share
        raise UserError(
            f'{folder}: the part from {first:g} to {last:g} of the images of {listed(empty)} is empty; add images, or set '
            'another share of this data set in the config.'
        )
    arrays, labels, paths = [], [], []
    for label, files in enumerate(parts.values()):
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
    if not arrays:
        raise UserError(f'{folder}: no file decodes as an image; replace the files.')
    if len({array.shape for array in arrays}) > 1:
        raise UserError(f'{folder}: images of different sizes; give size=, the side in pixels of the resized images.')
    pixels = torch.from_numpy(np.stack(arrays)[..., ::-1].copy())
    return Images(pixels, torch.tensor(labels), tuple(found), tuple(paths))


def _part(files: Sequence[str], share: tuple[float, float]) -> Sequence[str]:
    """The files of a share; a cut between 0 and 1 leaves one file or more on both sides if there are two."""
    count = len(files)
    first, last = (round(edge * count) if edge in (0, 1) else min(max(round(edge * count), 1), count - 1) for edge in share)
    return files[first:last]


def _resized(image: np.ndarray, size: int | None) -> np.ndarray:
    if size is None or image.shape[:2] == (size, size):
        return image
    interpolation = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=interpolation)


def gather(pixels: Tensor, indices: Tensor, pad: int = 0, flip: bool = False, generator: torch.Generator | None = None) -> Tensor:
    """Images ``indices`` as (B, 3, H, W) uint8, channels last in memory, on the device of ``pixels``.

    Args:
        pixels: (N, H, W, 3) uint8.
        indices: (B,) int64.
        pad: largest random shift of each image in x and in y, in pixels; edge pixels fill the border.
        flip: mirror each image with a probability of 0.5.
        generator: of the random numbers, on the device of ``pixels``; torch's global one by default.
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
    """One epoch of (B, 3, H, W) uint8 images and (B,) labels; a shuffled (training) epoch drops a smaller last batch.

    ``size`` is the batch size; the other arguments are those of :func:`gather`.
    """
    device = images.pixels.device
    order = (
        torch.randperm(len(images), generator=generator, device=device) if shuffle else torch.arange(len(images), device=device)
    )
    for indices in order.split(size):
        if len(indices) == size or not shuffle or len(images) < size:
            yield gather(images.pixels, indices, pad, flip, generator), images.labels[indices]


def normalise(batch: Tensor, mean: Tensor, std: Tensor, resolution: int | None = None) -> Tensor:
    """Normalise and resize (B, 3, H, W) uint8 to (B, 3, resolution, resolution) float32.

    ``mean`` and ``std`` are (1, 3, 1, 1), on the scale 0 to 255; a ``resolution`` of None keeps the size.
    """
    batch = (batch.float() - mean) / std
    if resolution is None or resolution == batch.shape[-1]:
        return batch
    return F.interpolate(
        batch, size=(resolution, resolution), mode='bilinear', align_corners=False, antialias=batch.shape[-1] > resolution
    )


@DATASETS.register_module()
class MemoryImages(torch.utils.data.Dataset):
    """A data set from :func:`load_folder` that returns complete batches; needs ``collate_fn=dict(type='whole_batch')``.

    Args:
        folder: the folder of class folders.
        size, broken, per_class, share: see :func:`load_folder`.
        pad, flip: random shift and flip for training, see :func:`gather`.
    """

    def __init__(
        self,
        folder: str,
        size: int | None = None,
        broken: str = 'fatal',
        pad: int = 0,
        flip: bool = False,
        per_class: int = 0,
        share: Sequence[float] = (0.0, 1.0),
    ):
        first, last = share
        self.images = load_folder(str(Path(folder)), size, broken, per_class, (first, last))
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
    """The collate function of data sets that return complete batches: returns its argument."""
    return batch


@MODELS.register_module()
class MemoryPreprocessor(BaseDataPreprocessor):
    """Convert a batch of ``MemoryImages`` to the input of mmpretrain's classifiers: normalised, resized, labels as data samples.

    On a CPU the batch stays channels-last, which :class:`~tinynet_mm.training.FastCPUHook` needs. The parameter
    ``batch_augments`` exists because mmpretrain passes it; mixup and other batch augmentations need its ClsDataPreprocessor.

    Args:
        mean, std: of each channel in RGB, on the scale 0 to 255.
        resolution: side of the input in pixels; None keeps the size of the images.

    Raises:
        UserError: batch augmentations are given.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], resolution: int | None = None, batch_augments: None = None):
        super().__init__()
        if batch_augments:
            raise UserError('MemoryPreprocessor: mixup and other batch augmentations need mmpretrain.ClsDataPreprocessor.')
        self.resolution = resolution
        self.register_buffer('mean', torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Inputs (B, 3, H, W) float32 and one data sample per image, on the device of this module."""
        from mmpretrain.structures import DataSample

        inputs, labels = data['inputs'].to(self.device), data['labels'].to(self.device)
        inputs = normalise(inputs, self.mean, self.std, self.resolution)
        inputs = inputs.contiguous() if inputs.is_cuda else inputs
        return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(label) for label in labels.view(-1, 1)])


def read_from_files(cfg: Config) -> Config:
    """Change a config with ``MemoryPreprocessor`` to read single image files with mmpretrain's pipeline; others are not changed.

    Images of the size of the training images get the same input, except for rounding to 8 bits after resizing; larger ones are
    resized in one step.
    """
    given = cfg.model.get('data_preprocessor')
    if given is None or str(given.get('type')).split('.')[-1] != 'MemoryPreprocessor':
        return cfg
    steps: list[dict] = [dict(type='mmpretrain.LoadImageFromFile'), dict(type='mmpretrain.PackInputs')]
    if side := given.get('resolution'):
        resize = dict(type='mmpretrain.Resize', scale=(side, side), backend='pillow', interpolation='bilinear')
        steps.insert(1, resize)
    numbers = dict(mean=given.mean, std=given.std, num_classes=cfg.model.head.num_classes)
    cfg.model.data_preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True, **numbers)
    cfg.test_dataloader = dict(dataset=dict(type='mmpretrain.CustomDataset', pipeline=steps))
    return cfg

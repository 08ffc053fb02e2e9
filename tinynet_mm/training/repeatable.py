"""Trainings that a restart does not change: random numbers that depend on the seed, the epoch and the image alone.

MMEngine seeds a training once. After ``--resume`` its augmentation starts again from the seed, so a training that was interrupted
ends with other weights than one that was not. With loader processes that do not persist, every epoch has the same augmentation.

What is left: the cache of ``CachedMosaic`` (the RTMDet recipe for COCO) starts empty after a restart; GPUs add in another order.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..files import collection_paused
from ..mmlab.running import config_errors
from .preemption import Preemption

OWN = ('inner', 'seed', 'epoch')


class Seeded(Dataset):
    """A data set whose transforms draw from (seed, epoch, index); all other attributes are those of ``inner``.

    Args:
        inner: the data set.
        seed: of the training.
    """

    def __init__(self, inner: Any, seed: int):
        self.inner, self.seed = inner, seed
        self.epoch = torch.zeros(1, dtype=torch.long).share_memory_()  # loader processes read it

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        with drawing_from(self.seed, int(self.epoch), int(index)):
            return self.inner[index]

    def __getattr__(self, name: str) -> Any:
        if name in OWN or name.startswith('__'):  # before __init__, for instance in a new process
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in OWN:
            super().__setattr__(name, value)
        else:
            setattr(self.inner, name, value)

    def __deepcopy__(self, memo: dict) -> 'Seeded':
        return self  # MMEngine copies the settings of a loader, in which the annotations of COCO take hundreds of megabytes


class SeededBatches(Seeded):
    """A data set that returns complete batches, as :class:`~tinynet_mm.data.memory.MemoryImages`, drawn from their indices."""

    def __getitems__(self, indices: Sequence[int]) -> Any:
        with drawing_from(self.seed, int(self.epoch), *map(int, indices)):
            return self.inner.__getitems__(indices)


@contextmanager
def drawing_from(*key: int) -> Iterator[None]:
    """Draw the random numbers of Python, numpy and torch on the CPU from a key inside the context."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _seed(*key)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _seed(*key: int) -> int:
    number = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(number)
    np.random.seed(number)
    torch.default_generator.manual_seed(number)
    return number


class SeedSteps(Hook):
    """Seed every epoch of :class:`Seeded` data, and every step, for dropout and augmentations of batches."""

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the data of the epoch that starts."""
        runner.train_dataloader.dataset.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seed the step that starts."""
        torch.cuda.manual_seed_all(_seed(runner.seed, runner.iter, get_rank()))


def build_dataset(settings: dict) -> Any:
    """Build a data set and read its annotations.

    Raises:
        UserError: settings that its class does not take.
    """
    with config_errors(), collection_paused():
        dataset = DATASETS.build(settings)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    return dataset


def install(runner: Runner) -> None:
    """Let a training that counts epochs draw from :class:`Seeded` data; call this before its loop is built."""
    if 'max_epochs' not in runner.cfg.train_cfg:
        return
    loader = dict(runner._train_dataloader)
    dataset = build_dataset(loader['dataset'])
    seeded = SeededBatches if hasattr(dataset, '__getitems__') else Seeded
    runner._train_dataloader = dict(loader, dataset=seeded(dataset, runner.seed))
    runner.register_hook(SeedSteps())
    runner.register_hook(Preemption())

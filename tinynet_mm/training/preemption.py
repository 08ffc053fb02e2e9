"""Trainings that a scheduler ends early: SIGTERM saves at the next step, and ``--resume`` continues with the step after it.

MMEngine saves at the end of an epoch and continues at the start of one. The checkpoint ``interrupted.pth`` is of any step, and
the images before it are not trained twice. A validation that was cut off is repeated.
"""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler, Sampler

from ..errors import Stopped, UserError
from ..logs import read

NAME = 'interrupted.pth'
IMAGES = 'training_images'  # in MMEngine's message hub, which checkpoints contain


class After(Sampler):
    """The indices of a sampler after the first ``skipped`` ones; its length and other attributes are those of the sampler."""

    def __init__(self, sampler: Sampler, skipped: int):
        self.inner, self.skipped = sampler, skipped

    def __iter__(self) -> Iterator[int]:
        indices = iter(self.inner)
        for _ in range(self.skipped):
            next(indices)
        return indices

    def __len__(self) -> int:
        return len(self.inner)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def any_process(value: bool) -> bool:
    """Whether a value is true in any of the processes, which must agree on where they stop."""
    if not dist.is_initialized():
        return value
    flag = torch.tensor(int(value), device=get_device())
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


class Preemption(Hook):
    """Save and stop at SIGTERM, and continue where a checkpoint was saved. Only in trainings that count epochs."""

    priority = 'VERY_LOW'  # after the step's other hooks, of which EMAHook updates the average

    def __init__(self) -> None:
        self.asked = False
        self.saved = -1  # epochs in the last checkpoint of this process

    def before_train(self, runner: Runner) -> None:
        """Listen to SIGTERM, validate the epoch before if that was cut off, and find the position in the epoch."""
        signal.signal(signal.SIGTERM, self._ask)
        check_images(runner)
        if runner._resume and validation_is_missing(runner):
            runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        """In the first epoch after ``--resume``, leave out the images that were trained."""
        steps, batches = runner.iter - runner.epoch * len(runner.train_dataloader), runner.train_dataloader.batch_sampler
        if isinstance(batches.sampler, After):
            batches.sampler = batches.sampler.inner
        if type(batches) is BatchSampler and 0 < steps < len(runner.train_dataloader):
            batches.sampler = After(batches.sampler, steps * batches.batch_size)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Save and stop if SIGTERM came; after the last step of an epoch the next hooks do."""
        if any_process(self.asked) and (runner.iter + 1) % len(runner.train_dataloader):
            runner.save_checkpoint(runner.work_dir, NAME, by_epoch=False)
            if runner.rank == 0:
                (Path(runner.work_dir) / 'last_checkpoint').write_text(str(Path(runner.work_dir) / NAME))
            self._stop(f'step {runner.iter + 1}, saved in {Path(runner.work_dir) / NAME}')

    def after_train_epoch(self, runner: Runner) -> None:
        """Remove the checkpoint of an interruption if the epoch has one, and stop if SIGTERM came."""
        folder, epoch = Path(runner.work_dir), runner.epoch + 1
        asked = any_process(self.asked)
        if any_process((folder / f'epoch_{epoch}.pth').is_file()):  # the first process has written it, others may not see it yet
            self.saved = epoch
            if runner.rank == 0:
                (folder / NAME).unlink(missing_ok=True)
            if asked:
                self._stop(f'the end of epoch {epoch}')

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop in a validation if a checkpoint has the epoch; otherwise, and with several processes, the next step saves."""
        if self.asked and self.saved == runner.epoch and not dist.is_initialized():
            self._stop(f'the validation of epoch {runner.epoch}, which --resume repeats')

    def _ask(self, *_: object) -> None:
        self.asked = True

    def _stop(self, place: str) -> None:
        raise Stopped(f'stopped by SIGTERM at {place}; the same command with --resume continues.')


def check_images(runner: Runner) -> None:
    """Check that a training continues on as many images as before, since its epochs and schedules count steps.

    Raises:
        UserError: another number of images than in the checkpoint.
    """
    known, images = runner.message_hub.runtime_info, len(runner.train_dataloader.dataset)
    before = known.get(IMAGES, images) if runner._resume else images
    if before != images:
        raise UserError(
            f'the checkpoint is of a training on {before} images, but the data now has {images}, and a training continues on the '
            f'same data. Restore it, or start a new training from the weights: --cfg-options load_from={runner._load_from}.'
        )
    runner.message_hub.update_info(IMAGES, images)


def validation_is_missing(runner: Runner) -> bool:
    """Whether a training that continues after an epoch with validation has no score of it in its logs."""
    loop, key = runner.train_loop, runner.cfg.default_hooks.get('checkpoint', {}).get('save_best')
    at_start = runner.iter == runner.epoch * len(runner.train_dataloader)
    if not (isinstance(loop, EpochBasedTrainLoop) and isinstance(key, str) and key != 'auto' and runner.val_loop and at_start):
        return False
    loop._decide_current_val_interval()
    due = runner.epoch >= loop.val_begin and (runner.epoch % loop.val_interval == 0 or runner.epoch == loop.max_epochs)
    return due and runner.epoch not in _validated(runner.work_dir, f'val/{key}')


def _validated(folder: str, key: str) -> list[int]:
    try:
        return [int(epoch) for run in read([folder]) for epoch in run.series(key)[0]]
    except UserError:  # no log of a training, for instance after a move of the checkpoint
        return []

"""Hooks of long trainings: stop at values that are not finite, list broken images, keep the memory constant."""

import math
from collections.abc import Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..errors import UserError, listed
from ..files import write_text


class NonFiniteLoss(UserError):
    """A loss or a weight became infinite or not a number."""


@HOOKS.register_module()
class StopOnNonFiniteLoss(Hook):
    """Stop the training at the first loss that is not finite; the message names iteration, learning rate and images.

    All images of the batch are listed in ``nonfinite_batch.txt`` in the work directory. Weights are checked before they are
    saved. MMEngine alone would continue.
    """

    priority = 'VERY_HIGH'  # before the average is updated and before a checkpoint is written

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of one iteration.

        Raises:
            NonFiniteLoss: a loss is NaN or infinite.
        """
        losses = {name: value.item() for name, value in (outputs or {}).items() if 'loss' in name}
        broken = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if not broken:
            return
        paths = batch_paths(data_batch)
        listing = Path(runner.work_dir) / 'nonfinite_batch.txt'
        write_text(listing, '\n'.join(paths) + '\n')
        rates = ', '.join(f'{rate:g}' for rate in sorted(set(runner.optim_wrapper.get_lr()['lr'])))
        name, value = next(iter(broken.items()))
        raise NonFiniteLoss(
            f'{name} is {value} at iteration {runner.iter + 1} (epoch {runner.epoch + 1}, learning rate {rates}); the batch '
            f'contains {shown(paths)}, all listed in {listing}. Lower the learning rate, or check these images; the last '
            'checkpoint is older than this iteration.'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the weights: the last step of an epoch can break them although its losses were finite.

        Raises:
            NonFiniteLoss: a weight is NaN or infinite; nothing is saved.
        """
        values = checkpoint.get('state_dict', {}).items()
        broken = [name for name, value in values if value.is_floating_point() and not value.isfinite().all()]
        if broken:
            raise NonFiniteLoss(
                f'{len(broken)} of {len(values)} tensors of the model are not finite (first: '
                f'{broken[0]}), and are not saved. Lower the learning rate, or check the settings of the optimizer and of '
                'clip_grad; the last checkpoint is older.'
            )


class ShortHistory(Hook):
    """Keep the logged values of an epoch, and of at least a thousand steps, in memory.

    MMEngine keeps a million values of each loss, copies them in every step, and writes them into every checkpoint.
    """

    priority = 'VERY_LOW'
    least = 1000

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Limit the buffers; new ones appear with the first step and the first validation."""
        if batch_idx == 0:
            for buffer in runner.message_hub.log_scalars.values():
                buffer.max_length = max(self.least, len(runner.train_dataloader))


def batch_paths(data_batch: dict | None) -> list[str]:
    """Return the files of a batch of mmdet, mmpretrain or :class:`~..data.memory.MemoryImages`; empty without paths."""
    if not isinstance(data_batch, dict):
        return []
    if 'img_path' in data_batch:
        return list(data_batch['img_path'])
    return [sample.img_path for sample in data_batch.get('data_samples', ()) if 'img_path' in sample]


def shown(paths: Sequence[str], limit: int = 3) -> str:
    """Return ``'a.jpg, b.jpg and 62 more'``, or a phrase for no known paths."""
    return listed(paths, limit) or 'images whose paths are unknown'


@HOOKS.register_module()
class ReportBrokenImages(Hook):
    """Count and list the images that did not decode at the end of a run (data sets with ``broken='skip'``)."""

    def after_run(self, runner: Runner) -> None:
        """Write ``broken_images.txt`` into the work directory and log a warning, if an image was broken."""
        # the properties without underscore would build loops that this run does not have
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        loaders = [loop.dataloader for loop in loops if isinstance(getattr(loop, 'dataloader', None), DataLoader)]
        found = sorted({path for loader in loaders for path in getattr(loader.dataset, 'broken_images', list)()})
        found = sorted(set(sum(all_gather_object(found), [])))
        if found and is_main_process():
            listing = Path(runner.work_dir) / 'broken_images.txt'
            write_text(listing, '\n'.join(found) + '\n')
            runner.logger.warning(f'{len(found)} images did not decode and were skipped: {shown(found, 20)}. List: {listing}.')

"""What a training shows on the console: one line for each epoch, and a progress bar of the current epoch on a terminal.

MMEngine's LoggerHook writes a line every few iterations; these lines stay in the log file and in ``vis_data/scalars.json``.
"""

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from tqdm import tqdm

from ..mmlab.console import CONSOLE, scores_line


class EpochLines(Hook):
    """Log a line for each epoch: losses, scores of a validation, learning rate and the time left.

    The line of an epoch follows its validation, or, without one, the epoch itself. A training that counts iterations has a line
    for each validation. The hook is registered at the Runner, not in the config, which is saved for later commands.
    """

    priority = 'VERY_LOW'  # after the best checkpoint is saved, before a hook says why the training stops

    def __init__(self) -> None:
        self.waiting = False  # whether the last epoch has no line yet
        self.first_iter = 0
        self.written = 0  # iterations at the last line
        self.best = None
        self.started = time.monotonic()
        self.bar: tqdm | None = None

    def before_train(self, runner: Runner) -> None:
        """Start the clock; a resumed training has iterations that this process did not run."""
        self.started, self.first_iter, self.written = time.monotonic(), runner.iter, runner.iter

    def before_train_epoch(self, runner: Runner) -> None:
        """Write the line of an epoch without validation, and start the bar of the next epoch."""
        self._write(runner)
        by_epoch = counts_epochs(runner)
        title = f'epoch {runner.epoch + 1}/{runner.max_epochs}' if by_epoch else 'training'
        total = len(runner.train_dataloader) if by_epoch else runner.max_iters
        self._open(title, total, 0 if by_epoch else runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Move the bar."""
        self._step()

    def after_train_epoch(self, runner: Runner) -> None:
        """Close the bar."""
        self.close()
        self.waiting = counts_epochs(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the bar of a validation."""
        if counts_epochs(runner):
            self._open('validation', len(runner.val_dataloader))

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Any | None = None) -> None:
        """Move the bar."""
        if counts_epochs(runner):
            self._step()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write the line of an epoch with its scores."""
        if counts_epochs(runner):
            self.close()
        self.waiting = True
        self._write(runner, metrics)

    def after_train(self, runner: Runner) -> None:
        """Write the line of the last epoch if it was not validated."""
        self.close()
        self._write(runner)

    def _write(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        if not self.waiting:
            return
        self.waiting = False
        best, self.best = self.best, runner.message_hub.runtime_info.get('best_ckpt')
        scores = [scores_line(metrics) or 'no detections'] if metrics is not None else []
        scores += ['(best so far)'] if self.best not in (None, best) else []
        losses, self.written = _losses(runner, runner.iter - self.written), runner.iter
        parts = [_position(runner), losses, *scores, f'lr {_rate(runner):.3g}', self._left(runner)]
        runner.logger.info('  '.join(part for part in parts if part), extra=CONSOLE)

    def _left(self, runner: Runner) -> str:
        """Return the time left, by the mean time of an iteration with its share of the validations."""
        done, left = runner.iter - self.first_iter, runner.max_iters - runner.iter
        if not done or not left:
            return ''
        seconds = (time.monotonic() - self.started) / done * left
        return f'{timedelta(seconds=round(seconds))} left'

    def _open(self, title: str, total: int, initial: int = 0) -> None:
        self.close()
        hidden = None if is_main_process() else True  # None: hidden unless standard error is a terminal
        self.bar = tqdm(total=total, initial=initial, desc=title, unit=' batches', leave=False, disable=hidden)

    def _step(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def close(self) -> None:
        """Remove the bar, also after an error."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def counts_epochs(runner: Runner) -> bool:
    """Return whether a training counts epochs and not iterations."""
    return isinstance(runner.train_loop, EpochBasedTrainLoop)


def _position(runner: Runner) -> str:
    """Return ``epoch  3/40``, or the iterations of a training that counts these."""
    done, total, name = (runner.epoch, runner.max_epochs, 'epoch')
    if not counts_epochs(runner):
        done, total, name = (runner.iter, runner.max_iters, 'iteration')
    return f'{name} {str(done).rjust(len(str(total)))}/{total}'


def _losses(runner: Runner, count: int) -> str:
    """Return the mean losses of the last iterations, the total first: ``loss 2.31 (cls 1.2, bbox 1.1)``."""
    scalars = runner.message_hub.log_scalars
    names = [key.removeprefix('train/') for key in scalars if key.startswith('train/') and 'loss' in key]
    means = {name: scalars[f'train/{name}'].mean(max(1, count)) for name in names}
    total = means.pop('loss', math.nan)
    parts = ', '.join(f'{name.removeprefix("loss_")} {value:.3g}' for name, value in means.items())
    return f'loss {total:.4g}' + (f' ({parts})' if len(means) > 1 else '')


def _rate(runner: Runner) -> float:
    """Return the learning rate of the last iteration."""
    return float(runner.message_hub.get_scalar('train/lr').current())

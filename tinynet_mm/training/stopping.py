"""Stop a training whose score does not improve: MMEngine's EarlyStoppingHook, which keeps its count when a training resumes."""

import math

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import counted
from ..mmlab.console import CONSOLE
from .progress import counts_epochs

STATE = 'stop_without_improvement'  # in the message hub, which a checkpoint contains


@HOOKS.register_module()
class StopWithoutImprovement(EarlyStoppingHook):
    """Stop after ``patience`` validations without a better score, and log one sentence with the reason.

    The scores are those of the averaged weights if there is an EMAHook: it swaps them in before a validation. MMEngine's hook
    forgets its count when a training resumes, counts a change of less than 0.1 as none, and builds the training loop in a
    test. Validations before the first detection, without the score or with 0, are not counted.

    Args:
        monitor: the score, like ``coco/bbox_mAP``.
        patience: number of validations.
        rule: 'greater' or 'less'; None decides by the name of the score.
    """

    priority = 'LOWEST'  # after CheckpointHook, so that the best checkpoint is saved

    def __init__(self, monitor: str, patience: int, rule: str | None = None):
        super().__init__(monitor, rule=rule, min_delta=1e-9, patience=patience)
        self.best_place = ''

    def before_run(self, runner: Runner) -> None:
        """Nothing: MMEngine's check builds the training loop, also for a test."""

    def before_train(self, runner: Runner) -> None:
        """Continue the count of a resumed training."""
        if state := runner.message_hub.runtime_info.get(STATE):
            self.best_score, self.wait_count, self.best_place = state

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Count a validation without improvement, and stop the training if there were ``patience`` of them."""
        score = (metrics or {}).get(self.monitor)
        if score is None or (self.rule == 'greater' and max(score, self.best_score) <= 0):
            return
        place = f'epoch {runner.epoch}' if counts_epochs(runner) else f'iteration {runner.iter}'
        stop, _ = self._check_stop_condition(score)
        if not self.wait_count:
            self.best_place = place
        runner.message_hub.update_info(STATE, [float(self.best_score), self.wait_count, self.best_place])
        if stop and runner.iter < runner.max_iters:  # else the training ends anyway
            runner.train_loop.stop_training = True
            runner.logger.info(f'stopped after {place}: {self._reason(score)}', extra=CONSOLE)

    def _reason(self, score: float) -> str:
        if not math.isfinite(score):
            return f'{self.monitor} is {score}.'
        count = counted(self.wait_count, 'validation')
        return f'{count} without a {self.monitor} better than {self.best_score:.4g} of {self.best_place}.'

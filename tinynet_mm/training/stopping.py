"""Stop a training whose score does not improve: MMEngine's EarlyStoppingHook, which keeps its count when a training resumes."""

import math

from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..mmlab.running import CONSOLE

STATE = 'stop_without_improvement'  # in the message hub, which a checkpoint contains


@HOOKS.register_module()
class StopWithoutImprovement(EarlyStoppingHook):
    """Stop after ``patience`` validations without a higher score, and log one sentence with the reason.

    The scores are those of the averaged weights if there is an EMAHook: it swaps them in before a validation. MMEngine's hook
    forgets its count when a training resumes, counts an increase of less than 0.1 as none, and builds the training loop in a
    test. A validation without the score, because nothing is detected yet, is not counted.

    Args:
        monitor: the score, like ``coco/bbox_mAP``.
        patience: number of validations.
        rule: 'greater' or 'less'; None decides by the name of the score.
    """

    priority = 'LOWEST'  # after CheckpointHook, so that the best checkpoint is saved

    def __init__(self, monitor: str, patience: int, rule: str | None = None):
        super().__init__(monitor, rule=rule, min_delta=1e-9, patience=patience)
        self.best_epoch = 0

    def before_run(self, runner: Runner) -> None:
        """Nothing: MMEngine's check builds the training loop, also for a test."""

    def before_train(self, runner: Runner) -> None:
        """Continue the count of a resumed training."""
        if state := runner.message_hub.runtime_info.get(STATE):
            self.best_score, self.wait_count, self.best_epoch = state

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Count a validation without improvement, and stop the training if there were ``patience`` of them."""
        score = (metrics or {}).get(self.monitor)
        if score is None:
            return
        stop, _ = self._check_stop_condition(score)
        if not self.wait_count:
            self.best_epoch = runner.epoch
        runner.message_hub.update_info(STATE, [float(self.best_score), self.wait_count, self.best_epoch])
        if stop:
            runner.train_loop.stop_training = True
            runner.logger.info(self._reason(runner.epoch, score), extra=CONSOLE)

    def _reason(self, epoch: int, score: float) -> str:
        if not math.isfinite(score):
            return f'stopped after epoch {epoch}: {self.monitor} is {score}.'
        best = f'{self.best_score:.4g} of epoch {self.best_epoch}'
        return f'stopped after epoch {epoch}: {self.wait_count} validations without a {self.monitor} better than {best}.'

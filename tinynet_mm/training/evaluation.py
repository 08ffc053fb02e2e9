"""Validation as in the paper: the raw and the averaged model, with loss and accuracy (figure 4b)."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.registry import LOOPS, METRICS
from mmengine.runner import ValLoop


@LOOPS.register_module()
class RawAndAverageValLoop(ValLoop):
    """Validate the averaged and the raw model if there is an EMAHook; metrics of the raw model have the prefix ``raw/``.

    MMEngine's ValLoop validates only the averaged model. The ``state_dict`` of a checkpoint has the averaged weights, so the
    names without prefix, which ``save_best`` reads, belong to the weights that are saved.
    """

    def run(self) -> dict:
        """Return the metrics of one validation."""
        self.runner.call_hook('before_val')
        averaged = any(isinstance(hook, EMAHook) for hook in self.runner.hooks)
        raw = self._score() if averaged else {}
        self.runner.call_hook('before_val_epoch')  # EMAHook swaps in the averaged weights
        metrics = self._score()
        metrics.update({f'raw/{name}': value for name, value in raw.items()})
        self.runner.call_hook('after_val_epoch', metrics=metrics)
        self.runner.call_hook('after_val')
        return metrics

    def _score(self) -> dict:
        self.runner.model.eval()
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        return self.evaluator.evaluate(len(self.dataloader.dataset))


@METRICS.register_module()
class CrossEntropy(BaseMetric):
    """Mean cross entropy in nats, from the probabilities and labels of mmpretrain's data samples: the validation loss.

    Its name in the log is ``cross_entropy``: MMEngine's LogProcessor replaces a value with ``loss`` in its name by the mean of
    the last ``window_size`` values, which are epochs for a validation.
    """

    default_prefix = ''  # MMEngine logs a warning for None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the cross entropy of each sample."""
        for sample in data_samples:
            chosen = sample['pred_score'][sample['gt_label'].to(sample['pred_score'].device)]
            self.results.append(-torch.log(chosen.double().clamp_min(1e-45)).item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over all samples."""
        return dict(cross_entropy=sum(results) / len(results))

"""Validation as the paper reports it: the raw and the averaged model, and a loss beside the accuracy (figure 4b)."""

from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.registry import LOOPS, METRICS
from mmengine.runner import ValLoop


@LOOPS.register_module()
class RawAndAverageValLoop(ValLoop):
    """Validates twice where an EMAHook is at work: metrics of the average keep their names, those of the raw one get ``raw/``.

    MMEngine's ValLoop sees the averaged model only. Checkpoints hold the averaged weights in ``state_dict``, so the plain names,
    which ``save_best`` looks at, belong to what is saved.
    """

    def run(self) -> dict:
        self.runner.call_hook('before_val')
        averaged = any(isinstance(hook, EMAHook) for hook in self.runner.hooks)
        raw = self._score() if averaged else {}
        self.runner.call_hook('before_val_epoch')  # here EMAHook swaps the averaged weights in
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

    It is logged as ``cross_entropy``, for MMEngine's LogProcessor replaces every value whose name has ``loss`` in it by the mean
    of the last ``window_size`` ones, which for a validation are epochs. Training losses may be smoothed besides.
    """

    default_prefix = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            chosen = sample['pred_score'][sample['gt_label'].to(sample['pred_score'].device)]
            self.results.append(-torch.log(chosen.double().clamp_min(1e-45)).item())

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return dict(cross_entropy=sum(results) / len(results))

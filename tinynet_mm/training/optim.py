"""Optimizer and schedule of section 4.1: RMSProp as TensorFlow computes it, and a staircase that also steps within an epoch.

Constants stand in the configs. What the paper leaves open there (epsilon 0.001, warm-up from 1e-6, no decay on norms and biases)
is from the authors' MindSpore recipe, mindspore-ai/mindspore, model_zoo/research/cv/tinynet.
"""

import math
from collections.abc import Iterable

import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

from ..errors import UserError


@OPTIMIZERS.register_module()
def RMSpropTF(params: Iterable, **kwargs) -> torch.optim.Optimizer:
    """timm's RMSpropTF (epsilon inside the root, mean square starts at one, learning rate inside the momentum buffer).

    A function, so that timm is imported by who trains with it and by nobody else.
    """
    from timm.optim import RMSpropTF as Optimizer

    return Optimizer(params, **kwargs)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoGroups(DefaultOptimWrapperConstructor):
    """Weight decay on matrices and kernels, none on norms and biases, as two parameter groups.

    MMEngine's own constructor does the same with ``norm_decay_mult`` and ``bias_decay_mult``, but makes one group for each
    parameter: about 200 for a TinyNet, which turns a fused optimizer step back into 200 single ones.
    """

    def __call__(self, model: nn.Module):
        model = getattr(model, 'module', model)
        trained = [p for p in model.parameters() if p.requires_grad]
        groups = [
            dict(params=[p for p in trained if p.ndim > 1]),
            dict(params=[p for p in trained if p.ndim <= 1], weight_decay=0.0),
        ]
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=[group for group in groups if group['params']]))
        return OPTIM_WRAPPERS.build(dict(self.optim_wrapper_cfg), default_args=dict(type='OptimWrapper', optimizer=optimizer))


@PARAM_SCHEDULERS.register_module()
class StaircaseLR(_ParamScheduler):
    """Multiply the learning rate by ``gamma`` every ``every`` epochs, which may be a fraction of one: 0.97 every 2.4 epochs.

    MMEngine's StepLR takes whole numbers only: converted to iterations, 2.4 epochs of 1252 are 3004.8, and a remainder that never
    is zero never steps, silently. Use with ``by_epoch=True, convert_to_iter_based=True``. Steps count from iteration 0, through
    the warm-up (TensorFlow's ``exponential_decay(staircase=True)``); warm-up itself is MMEngine's LinearLR beside this.

    Args:
        optimizer, begin, end, last_step, by_epoch, verbose: as in MMEngine's schedulers.
        gamma: factor of each step.
        every: length of a step, in epochs (or iterations, with ``by_epoch=False``).
    """

    def __init__(
        self,
        optimizer,
        gamma: float,
        every: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ):
        if every <= 0:
            raise UserError(f'StaircaseLR: every={every} epochs; a positive number is needed, like 2.4.')
        self.gamma, self.every = gamma, every
        super().__init__(optimizer, 'lr', begin=begin, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(
        cls, *args, every: float, epoch_length: int, begin: int = 0, end: int = INF, by_epoch=True, **kwargs
    ):
        """The same schedule in iterations; called by MMEngine for ``convert_to_iter_based=True``."""
        end = end if end == INF else int(end * epoch_length)
        return cls(*args, every=every * epoch_length, begin=int(begin * epoch_length), end=end, by_epoch=False, **kwargs)

    def _steps(self, iteration: int) -> int:
        return math.floor(iteration / self.every + 1e-9)  # 2.4 epochs of a round length are whole iterations, up to rounding

    def _get_value(self) -> list[float]:
        climbed = self._steps(self.last_step) - self._steps(max(0, self.last_step - 1))
        return [group['lr'] * self.gamma**climbed for group in self.optimizer.param_groups]

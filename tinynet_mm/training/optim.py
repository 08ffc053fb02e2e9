"""Optimizer and schedule of section 4.1: RMSProp as in TensorFlow, and a step schedule with fractions of epochs.

The configs have the constants. Those that the paper does not give (epsilon 0.001, warm-up from 1e-6, no decay on norms and
biases) are from the authors' MindSpore recipe, mindspore-ai/mindspore, model_zoo/research/cv/tinynet.
"""

import math
from collections.abc import Iterable
from typing import Any, Self

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

from ..errors import UserError


@OPTIMIZERS.register_module()
def RMSpropTF(params: Iterable, **kwargs: Any) -> torch.optim.Optimizer:
    """Build timm's RMSpropTF: epsilon inside the root, mean square starts at one, learning rate inside the momentum buffer.

    This is a function because timm is imported only for trainings with this optimizer.
    """
    from timm.optim import RMSpropTF as Optimizer

    return Optimizer(params, **kwargs)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TwoGroups(DefaultOptimWrapperConstructor):
    """Two parameter groups: weight decay on matrices and kernels, no decay on norms and biases.

    ``paramwise_cfg=dict(backbone_lr=0.1)`` gives the backbone a tenth of the learning rate, in two more groups.

    MMEngine's constructor does the same with ``norm_decay_mult`` and ``bias_decay_mult``, but with one group for each parameter:
    about 200 for a TinyNet, which divides a fused optimizer step into 200 single steps.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer and its wrapper for the trained parameters of a model."""
        model, factor = getattr(model, 'module', model), (self.paramwise_cfg or {}).get('backbone_lr') or 1
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        slow = [p for name, p in named if name.startswith('backbone.') and factor != 1]
        known = {id(p) for p in slow}
        groups: list[dict[str, Any]] = []
        for parameters, more in (([p for _, p in named if id(p) not in known], {}), (slow, dict(lr=self.base_lr * factor))):
            groups.append(dict(params=[p for p in parameters if p.ndim > 1], **more))
            groups.append(dict(params=[p for p in parameters if p.ndim <= 1], weight_decay=0.0, **more))
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=[group for group in groups if group['params']]))
        return OPTIM_WRAPPERS.build(dict(self.optim_wrapper_cfg), default_args=dict(type='OptimWrapper', optimizer=optimizer))


@PARAM_SCHEDULERS.register_module()
class StaircaseLR(_ParamScheduler):
    """Multiply the learning rate by ``gamma`` every ``every`` epochs, for instance by 0.97 every 2.4 epochs.

    MMEngine's StepLR needs whole numbers: 2.4 epochs of 1252 iterations are 3004.8, and StepLR never steps because the
    remainder of a division by this number is never zero. Use with ``by_epoch=True, convert_to_iter_based=True``. The steps count
    from iteration 0, through the warm-up (TensorFlow's ``exponential_decay(staircase=True)``); the warm-up is MMEngine's
    LinearLR, a second scheduler.

    Args:
        optimizer: the optimizer, or its wrapper.
        gamma: factor of each step.
        every: length of a step in epochs, or in iterations with ``by_epoch=False``; not necessarily a whole number.
        begin: see MMEngine's schedulers, as for all following arguments.
        end: the schedule ends here.
        last_step: index of the last step, for a resumed training.
        by_epoch: whether ``begin``, ``end`` and ``every`` are epochs.
        verbose: print each new learning rate.

    Raises:
        UserError: ``every`` is not above 0.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | OptimWrapper,
        gamma: float,
        every: float,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ):
        if every <= 0:
            raise UserError(f'StaircaseLR: every={every} is not above 0; give a length in epochs, for instance 2.4.')
        self.gamma, self.every = gamma, every
        super().__init__(optimizer, 'lr', begin=begin, end=end, last_step=last_step, by_epoch=by_epoch, verbose=verbose)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        every: float,
        epoch_length: int,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Build the same schedule in iterations; MMEngine calls this for ``convert_to_iter_based=True``."""
        end = end if end == INF else int(end * epoch_length)
        kwargs.update(every=every * epoch_length, begin=int(begin * epoch_length), end=end, by_epoch=False)
        return cls(*args, **kwargs)

    def _steps(self, iteration: int) -> int:
        return math.floor(iteration / self.every + 1e-9)  # 1e-9: whole iterations despite rounding

    def _get_value(self) -> list[float]:
        steps = self._steps(self.last_step) - self._steps(max(0, self.last_step - 1))
        return [group['lr'] * self.gamma**steps for group in self.optimizer.param_groups]

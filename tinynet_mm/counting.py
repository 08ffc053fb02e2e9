"""What a built module costs, counted by running it: torch's own counter, the independent reference of :mod:`tinynet_mm.cost`.

torch counts two operations a multiply-add; halved they are what the paper calls FLOPs. Only convolutions and matrix products
count, as in the paper; norms, activations and additions do not.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .cost import Cost

COUNTED = (nn.Conv2d, nn.Linear)


def count(module: nn.Module, run: Callable[[], object]) -> Cost:
    """Cost of what ``run()`` does with ``module``: MACs by torch's counter, activations by hooks, all of the parameters.

    Nothing is read from the tensors, so a module and an input on the meta device serve as well and take no memory.
    """
    written = []
    hooks = [m.register_forward_hook(lambda m, i, out: written.append(out.numel())) for m in _counted(module)]
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(counter.get_total_flops() // 2, sum(p.numel() for p in module.parameters()), sum(written))


def count_images(module: nn.Module, side: int) -> Cost:
    """Cost of ``module`` for one square image (1, 3, side, side), on the module's device and in evaluation mode."""
    image = torch.empty(1, 3, side, side, device=next(module.parameters()).device)
    return count(module.eval(), lambda: module(image))


def _counted(module: nn.Module) -> list[nn.Module]:
    return [m for m in module.modules() if isinstance(m, COUNTED)]

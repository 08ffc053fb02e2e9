"""Count the cost of a built module with torch's counter while it runs: the independent reference of :mod:`tinynet_mm.cost`.

torch counts two operations for each multiply-add; half of that is what the paper calls FLOPs. Convolutions and matrix products
count, as in the paper; norms, activations and additions do not. No tensor values are read, so modules and inputs can be on the
meta device, without memory.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..cost import NOTHING, Cost
from .configs import input_size

COUNTED = (nn.Conv2d, nn.Linear)
ELSEWHERE = 'elsewhere'


def count(module: nn.Module, run: Callable[[], object]) -> Cost:
    """Return the cost of ``run()``: MACs by torch's counter, activations by hooks, and all parameters of ``module``."""
    return sum(count_parts(module, run, lambda name: '').values(), NOTHING)


def count_images(module: nn.Module, side: int) -> Cost:
    """Return the cost of ``module`` for one image (1, 3, side, side), on its own device and in evaluation mode."""
    image = torch.empty(1, 3, side, side, device=next(module.parameters()).device)
    return count(module.eval(), lambda: module(image))


def count_parts(module: nn.Module, run: Callable[[], object], part: Callable[[str], str]) -> dict[str, Cost]:
    """Return the cost of ``run()`` by part, see :func:`count`.

    Products outside of convolutions and linear layers, for instance in attention, are in the part 'elsewhere'. The MACs and
    activations of a layer that runs twice count twice, its parameters once.

    Args:
        module: the module whose layers are counted.
        run: runs the module once.
        part: maps the dotted name of a layer or parameter to the name of its part.
    """
    costs: dict[str, Cost] = defaultdict(lambda: NOTHING)
    for name, parameter in module.named_parameters():
        costs[part(name)] += Cost(0, parameter.numel(), 0)
    started: list[int] = []
    with FlopCounterMode(display=False) as counter, torch.no_grad():

        def enter(layer: nn.Module, inputs: Sequence[Tensor]) -> None:
            started.append(counter.get_total_flops())

        def leave(name: str, layer: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> None:
            costs[part(name)] += Cost((counter.get_total_flops() - started.pop()) // 2, 0, output.numel())

        layers = [(name, m) for name, m in module.named_modules() if isinstance(m, COUNTED)]
        hooks = [m.register_forward_pre_hook(enter) for _, m in layers]
        hooks += [m.register_forward_hook(partial(leave, name)) for name, m in layers]
        try:
            run()
        finally:
            for hook in hooks:
                hook.remove()
    if rest := counter.get_total_flops() // 2 - sum(c.macs for c in costs.values()):
        costs[ELSEWHERE] += Cost(rest, 0, 0)
    return dict(costs)


# Models of configs ------------------------------------------------------------------------------------------------------------


def count_config(cfg: Config, side: int | None = None) -> tuple[tuple[int, int], dict[str, Cost]]:
    """Return the input size (height, width) and the cost by part of a config's model, up to the raw outputs of the head.

    The model has random weights and runs on the CPU, for one image of ``side`` x ``side`` pixels or of the config's input size.

    Raises:
        UserError: no ``side``, and the config has no input size.
    """
    size = (side, side) if side else input_size(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model).eval()
    image = torch.zeros(1, 3, *size)
    facts = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    samples = [BaseDataElement(metainfo=facts)]
    return size, count_parts(model, lambda: model(image, samples, mode='tensor'), config_part)


def config_part(name: str) -> str:
    """Return the part of a model that a parameter belongs to: a stage or child of the backbone, or a child of the model."""
    found = re.match(r'backbone\.(blocks|stages|layers|features)\.\d+|backbone\.[^.]+|[^.]+', name)
    return found[0] if found else name

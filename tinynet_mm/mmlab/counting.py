"""What a built module costs, counted by running it: torch's own counter, the independent reference of :mod:`tinynet_mm.cost`.

torch counts two operations a multiply-add; halved they are what the paper calls FLOPs. Only convolutions and matrix products
count, as in the paper; norms, activations and additions do not. Nothing is read from the tensors: a module and an input on the
meta device serve as well, and take no memory.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ..cost import NOTHING, Cost
from ..errors import UserError

COUNTED = (nn.Conv2d, nn.Linear)
ELSEWHERE = 'elsewhere'


def count(module: nn.Module, run: Callable[[], object]) -> Cost:
    """Cost of what ``run()`` does with ``module``: MACs by torch's counter, activations by hooks, all of the parameters."""
    return sum(count_parts(module, run, lambda name: '').values(), NOTHING)


def count_images(module: nn.Module, side: int) -> Cost:
    """Cost of ``module`` for one square image (1, 3, side, side), on the module's device and in evaluation mode."""
    image = torch.empty(1, 3, side, side, device=next(module.parameters()).device)
    return count(module.eval(), lambda: module(image))


def count_parts(module: nn.Module, run: Callable[[], object], part: Callable[[str], str]) -> dict[str, Cost]:
    """As :func:`count`, by part: ``part`` maps the dotted name of a layer or parameter to that of its part.

    Products that no convolution or linear layer makes (attention, say) are in the part 'elsewhere'. A layer that runs twice works
    twice and has its parameters once.
    """
    costs: dict[str, Cost] = defaultdict(lambda: NOTHING)
    for name, parameter in module.named_parameters():
        costs[part(name)] += Cost(0, parameter.numel(), 0)
    started: list[int] = []
    with FlopCounterMode(display=False) as counter, torch.no_grad():

        def enter(layer, inputs):
            started.append(counter.get_total_flops())

        def leave(name, layer, inputs, output):
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
    """Input size (height, width) and cost by part of a config's model, ours or of a zoo, up to the head's raw outputs.

    Built with random weights and run on the CPU, for one image of ``side`` x ``side`` or of the size its test pipeline makes.
    """
    size = (side, side) if side else input_size(cfg)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model).eval()
    image = torch.zeros(1, 3, *size)
    facts = dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    samples = [BaseDataElement(metainfo=facts)]
    return size, count_parts(model, lambda: model(image, samples, mode='tensor'), config_part)


def config_part(name: str) -> str:
    """The part of a model that a parameter belongs to: a level of the backbone, or another of the model's own children."""
    return re.match(r'backbone\.(blocks|stages|layers|features)\.\d+|backbone\.[^.]+|[^.]+', name)[0]


def input_size(cfg: Config) -> tuple[int, int]:
    """(height, width) the test pipeline brings images to; for a range of sizes, its bound."""
    for split in ('test', 'val', 'train'):
        dataset = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {})
        for transform in reversed(dataset.get('pipeline', [])):
            for key in ('crop_size', 'size', 'scale'):
                if size := transform.get(key):
                    width, height = (size, size) if isinstance(size, int) else size
                    return (height, width) if key == 'scale' else (width, height)
    raise UserError('the test pipeline of this config names no size; give one by --resolution N.')

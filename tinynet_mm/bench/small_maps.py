"""Time a training step of backbones on small images, with torch's convolutions and with those for small feature maps."""

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from mmengine.registry import MODELS
from torch import nn

from ..archs import resolve
from ..errors import UserError
from ..formula.configs import backbone
from ..training.small_maps import use_small_maps
from .clock import in_turns, protocol, ratios, spread

Progress = Callable[[Iterable[int]], Iterable[int]]


def train_step(model: nn.Module, images: torch.Tensor) -> None:
    """Forward and backward pass; the loss is the mean of the last map."""
    model.zero_grad()
    model(images)[-1].mean().backward()


def compare(arch: str, side: int, batch: int, rounds: int, progress: Progress = iter) -> dict[str, object]:
    """Time both kinds of convolutions in turns, in one thread, on channels-last weights and random images.

    Returns:
        a row: median seconds of a step of each, the speedup of each round (median, minimum, maximum), and the protocol.

    Raises:
        UserError: an unknown architecture, or a batch that cannot be trained.
    """
    if batch < 2:
        raise UserError(f'--batch {batch}: batch norm cannot be trained on less than two images; give --batch 2 or more.')
    torch.set_num_threads(1)
    stock = MODELS.build(backbone(resolve(arch))).train().to(memory_format=torch.channels_last)
    ours = copy.deepcopy(stock)
    layers = use_small_maps(ours)
    images = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    seconds = in_turns(
        {'torch': partial(train_step, stock, images), 'ours': partial(train_step, ours, images)}, rounds, 2, progress
    )
    row = dict(arch=arch, side=side, batch=batch, rounds=rounds, replaced_layers=layers)
    times = {f'{name}_s': spread(values, 3)[0] for name, values in seconds.items()}
    speedup = spread(ratios(seconds['torch'], seconds['ours']))
    return row | times | dict(zip(('speedup', 'speedup_least', 'speedup_most'), speedup)) | protocol()


def compare_all(
    archs: Sequence[str], sides: Sequence[int], batch: int, rounds: int, progress: Progress = iter
) -> list[dict[str, object]]:
    """A row of :func:`compare` for each architecture at each side."""
    return [compare(arch, side, batch, rounds, progress) for arch in archs for side in sides]

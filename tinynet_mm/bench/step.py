"""Time a training step of a detector on a CPU: plain torch, channels-last weights, and freed memory kept too."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope

from ..errors import UserError
from ..mmlab.configs import config_name, load_config
from ..training.cpu import keep_freed_memory
from .batches import random_batch
from .clock import in_turns, protocol, ratios, spread

# the memory format of the weights, and whether freed memory is kept
CONTENDERS = {
    'plain': (torch.contiguous_format, False),
    'channels_last': (torch.channels_last, False),
    'and_memory_kept': (torch.channels_last, True),
}
WARM_UP = 3


def train_step(model: BaseModel, optimizer: torch.optim.Optimizer, data: dict) -> None:
    """One training step: forward pass, losses, backward pass, optimizer."""
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    optimizer.zero_grad()
    model.parse_losses(losses)[0].backward()
    optimizer.step()


def work(pipe: Connection, config: str, batch: int, layout: torch.memory_format, keep: bool) -> None:
    """Run in a process: build the detector, then train one step per message and answer it, until the message is None."""
    keep_freed_memory(keep)
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = random_batch(cfg.model.bbox_head.input_size, batch)
    while pipe.recv():
        train_step(model, optimizer, data)
        pipe.send('done')


def start(config: str, batch: int, layout: torch.memory_format, keep: bool) -> Connection:
    """Start a worker and return the pipe to it.

    Each contender needs a separate process, because the allocator's settings hold for a process.
    """
    context = get_context('spawn')
    pipe, other_end = context.Pipe()
    context.Process(target=work, args=(other_end, config, batch, layout, keep), daemon=True).start()
    other_end.close()
    return pipe


def _step(pipe: Connection) -> None:
    """Let a worker train one step; the messages take microseconds."""
    pipe.send('step')
    pipe.recv()


def compare(
    config: str, batch: int, rounds: int, progress: Callable[[Iterable[int]], Iterable[int]] = iter
) -> dict[str, float | int | str]:
    """Time the contenders in turns.

    Args:
        config: a detector's config whose head has ``input_size``, such as those of SSDLite.
        batch: random images per step.
        rounds: rounds that count, after three for warm-up.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        a row: median seconds of a step of each contender, and the speedup over the plain one (median, minimum and maximum).

    Raises:
        UserError: a batch that cannot be trained, less than one round, or another kind of config.
    """
    _check(config, batch, rounds)
    workers = {name: start(config, batch, *settings) for name, settings in CONTENDERS.items()}
    seconds = in_turns({name: partial(_step, pipe) for name, pipe in workers.items()}, rounds, WARM_UP, progress)
    for pipe in workers.values():
        pipe.send(None)
    row: dict = dict(config=config_name(config), batch=batch, rounds=rounds, precision='fp32', cores=os.cpu_count()) | protocol()
    for name in CONTENDERS:
        row[f'{name}_s'] = spread(seconds[name], 3)[0]
        speedups = spread(ratios(seconds['plain'], seconds[name]))
        row |= {f'{name}_speedup{key}': value for key, value in zip(('', '_least', '_most'), speedups)}
    return row


def _check(config: str, batch: int, rounds: int) -> None:
    """Raise UserError for settings with which the workers would fail."""
    if batch < 2:
        raise UserError(f'--batch {batch}: batch norm cannot be trained on less than two images; give --batch 2 or more.')
    if rounds < 1:
        raise UserError(f'--rounds {rounds}: give 1 or more.')
    if 'input_size' not in load_config(config).model.get('bbox_head', {}):
        raise UserError(
            f'{config}: its head has no input_size; pass the config of an SSDLite detector, configs/ssdlite_*_coco.py.'
        )

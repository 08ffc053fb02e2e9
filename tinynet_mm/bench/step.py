"""Time a training step of detectors on a CPU: the settings of one detector, or several detectors and numbers of threads.

The settings are those of :mod:`tinynet_mm.training.cpu`: plain torch, channels-last weights, and freed memory kept too.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope

from ..errors import UserError
from ..mmlab.configs import config_name, input_side, load_config
from ..mmlab.editing import set_input_size, split_side
from ..training.cpu import keep_freed_memory
from .batches import random_batch
from .clock import in_turns, protocol, ratios, spread

WARM_UP = 3
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Contender:
    """One process that trains.

    Attributes:
        config: of a detector, with ``@SIDE`` for another input size.
        threads: of torch; None leaves torch's choice.
        channels_last: the memory format of the weights.
        keep: whether freed memory is kept.
    """

    config: str
    threads: int | None = None
    channels_last: bool = True
    keep: bool = True


def variants(config: str) -> dict[str, Contender]:
    """The three settings of one detector by name."""
    return {
        'plain': Contender(config, channels_last=False, keep=False),
        'channels_last': Contender(config, keep=False),
        'and_memory_kept': Contender(config),
    }


def load(name: str) -> Config:
    """The config of a name like ``rtmdet_tinynet_d_coco@416``.

    Raises:
        FileNotFoundError, UserError: no such config, not a detector with an input size, or a size that it cannot have.
    """
    config, side = split_side(name)
    cfg = load_config(config)
    set_input_size(cfg, side or input_side(cfg))
    return cfg


def train_step(model: BaseModel, optimizer: torch.optim.Optimizer, data: dict) -> None:
    """One training step: forward pass, losses, backward pass, optimizer."""
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    optimizer.zero_grad()
    model.parse_losses(losses)[0].backward()
    optimizer.step()


def work(pipe: Connection, contender: Contender, batch: int) -> None:
    """Run in a process: build the detector, then train one step per message and answer it, until the message is None."""
    keep_freed_memory(contender.keep)
    if contender.threads:
        torch.set_num_threads(contender.threads)
    cfg = load(contender.config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train()
    model.to(memory_format=torch.channels_last if contender.channels_last else torch.contiguous_format)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = random_batch(input_side(cfg), batch)
    while pipe.recv():
        train_step(model, optimizer, data)
        pipe.send('done')


def start(contender: Contender, batch: int) -> Connection:
    """Start a worker and return the pipe to it.

    Each contender needs a separate process, because the allocator's settings hold for a process.
    """
    context = get_context('spawn')
    pipe, other_end = context.Pipe()
    context.Process(target=work, args=(other_end, contender, batch), daemon=True).start()
    other_end.close()
    return pipe


def _step(pipe: Connection) -> None:
    """Let a worker train one step; the messages take microseconds."""
    pipe.send('step')
    pipe.recv()


def measure(contenders: Mapping[str, Contender], batch: int, rounds: int, progress: Progress) -> dict[str, list[float]]:
    """Seconds of a training step of each contender in each round; they take turns.

    Raises:
        FileNotFoundError, UserError: settings with which the workers would fail.
    """
    _check([contender.config for contender in contenders.values()], batch, rounds)
    workers = {name: start(contender, batch) for name, contender in contenders.items()}
    seconds = in_turns({name: partial(_step, pipe) for name, pipe in workers.items()}, rounds, WARM_UP, progress)
    for pipe in workers.values():
        pipe.send(None)
    return seconds


def compare(config: str, batch: int, rounds: int, progress: Progress = iter) -> dict[str, float | int | str]:
    """Time the settings of one detector.

    Args:
        config: a detector's config, with ``@SIDE`` for another input size.
        batch: random images per step.
        rounds: rounds that count, after three for warm-up.
        progress: wraps the rounds, for instance in a progress bar.

    Returns:
        a row: median seconds of a step of each setting, and the speedup over the plain one (median, minimum and maximum).

    Raises:
        FileNotFoundError, UserError: a batch that cannot be trained, less than one round, or another kind of config.
    """
    contenders = variants(config)
    seconds = measure(contenders, batch, rounds, progress)
    row: dict = dict(config=config_name(split_side(config)[0])) | _protocol(batch, rounds)
    for name in contenders:
        row[f'{name}_s'] = spread(seconds[name], 3)[0]
        speedups = spread(ratios(seconds['plain'], seconds[name]))
        row |= {f'{name}_speedup{key}': value for key, value in zip(('', '_least', '_most'), speedups)}
    return row


def compare_detectors(
    configs: Sequence[str], threads: Sequence[int], batch: int, rounds: int, progress: Progress = iter
) -> list[dict]:
    """Time detectors, each with each number of threads.

    Args:
        configs: of detectors, with ``@SIDE`` for another input size.
        threads: numbers of threads.
        batch: random images per step.
        rounds: rounds that count, after three for warm-up.
        progress: wraps the rounds.

    Returns:
        a row for each: median seconds of a step, and the ratio to the first one of the same round (median, minimum, maximum).

    Raises:
        FileNotFoundError, UserError: see :func:`compare`.
    """
    contenders = {f'{config} {count}': Contender(config, count) for config, count in product(dict.fromkeys(configs), threads)}
    seconds = measure(contenders, batch, rounds, progress)
    first, rows = next(iter(seconds.values())), []
    for name, contender in contenders.items():
        cfg = load(contender.config)
        row = dict(config=config_name(split_side(contender.config)[0]), input_size=input_side(cfg))
        row |= _protocol(batch, rounds) | dict(threads=contender.threads, seconds=spread(seconds[name], 3)[0])
        ratio = spread(ratios(seconds[name], first))
        rows.append(row | {f'times_first{key}': value for key, value in zip(('', '_least', '_most'), ratio)})
    return rows


def _protocol(batch: int, rounds: int) -> dict:
    return dict(batch=batch, rounds=rounds, precision='fp32', cores=os.cpu_count()) | protocol()


def _check(configs: Sequence[str], batch: int, rounds: int) -> None:
    if batch < 2:
        raise UserError(f'--batch {batch}: batch norm cannot be trained on less than two images; give --batch 2 or more.')
    if rounds < 1:
        raise UserError(f'--rounds {rounds}: give 1 or more.')
    for config in configs:
        load(config)

"""Time a training step of a detector on a CPU: plain torch, channels-last weights, and freed memory kept too."""

import os
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from ..mmlab.configs import load_config
from ..training.cpu import keep_freed_memory
from .batches import random_batch
from .clock import protocol, ratios, spread

# the memory format of the weights, and whether freed memory is kept
CONTENDERS = {
    'plain': (torch.contiguous_format, False),
    'channels_last': (torch.channels_last, False),
    'and_memory_kept': (torch.channels_last, True),
}
WARM_UP = 3


def timed_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, data: dict) -> float:
    """Seconds of one training step."""
    started = time.perf_counter()
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    optimizer.zero_grad()
    model.parse_losses(losses)[0].backward()
    optimizer.step()
    return time.perf_counter() - started


def work(pipe: Connection, config: str, batch: int, layout: torch.memory_format, keep: bool) -> None:
    """A process that makes a step for each message and answers with its seconds, until it is sent None."""
    keep_freed_memory(keep)
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).train().to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    data = random_batch(cfg.model.bbox_head.input_size, batch)
    while pipe.recv():
        pipe.send(timed_step(model, optimizer, data))


def start(*settings) -> Connection:
    """The near end of the pipe to a new worker; each has a process of its own, since the allocator's settings are a process's."""
    context = get_context('spawn')
    near, far = context.Pipe()
    context.Process(target=work, args=(far, *settings), daemon=True).start()
    return near


def compare(config: str, batch: int, rounds: int) -> dict:
    """A row of results: seconds of a step of each contender, and its speedup over the plain one in each round."""
    workers = {name: start(config, batch, *settings) for name, settings in CONTENDERS.items()}
    turns: list[dict[str, float]] = []
    for _ in range(rounds + WARM_UP):
        turns.append({})
        for name, pipe in workers.items():
            pipe.send('step')
            turns[-1][name] = pipe.recv()
    for pipe in workers.values():
        pipe.send(None)
    seconds = {name: [turn[name] for turn in turns[WARM_UP:]] for name in CONTENDERS}
    row: dict = dict(config=Path(config).stem, batch=batch, rounds=rounds, precision='fp32', cores=os.cpu_count()) | protocol()
    for name in CONTENDERS:
        row[f'{name}_s'] = spread(seconds[name], 3)[0]
        speedups = spread(ratios(seconds['plain'], seconds[name]))
        row |= {f'{name}_speedup{key}': value for key, value in zip(('', '_least', '_most'), speedups)}
    return row

"""Settings of a training that the command line changes: early stopping, batch, loader processes, threads, device, trackers.

Each function takes the config or the Runner, and returns a note for the user if there is something to say.
"""

import os
import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.runner import Runner

from ..errors import MissingPackageError, UserError, counted
from ..files import machine_load
from ..mmlab.checkpoints import check_device

TRACKERS = dict(tensorboard='TensorboardVisBackend', wandb='WandbVisBackend')  # package: class of MMEngine
SIBLINGS = '/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list'  # the hardware threads of one physical core


def apply(cfg: Config, patience: int | None, batch_size: int | None, workers: int | None) -> None:
    """Apply ``--patience``, ``--batch-size`` and ``--workers``; None keeps what the config says. Raises as these functions."""
    if patience is not None:
        set_patience(cfg, patience)
    if batch_size is not None:
        set_batch_size(cfg, batch_size)
    if workers is not None:
        set_workers(cfg, workers)


def set_patience(cfg: Config, patience: int) -> None:
    """Stop a training after ``patience`` validations without improvement of the score of ``save_best``.

    Raises:
        UserError: the config names no score, or does not validate.
    """
    saving = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    monitor, rule = saving.get('save_best'), saving.get('rule')
    if isinstance(monitor, list | tuple):
        monitor, rule = monitor[0], rule[0] if isinstance(rule, list | tuple) else rule
    if not monitor or monitor == 'auto' or not cfg.get('val_evaluator'):
        raise UserError(
            '--patience needs a validation and the name of its score; give --cfg-options default_hooks.checkpoint.save_best=KEY, '
            'for instance coco/bbox_mAP.'
        )
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook['type'] != 'StopWithoutImprovement']  # of a resumed training
    cfg.custom_hooks = [*hooks, dict(type='StopWithoutImprovement', monitor=monitor, patience=patience, rule=rule)]


def set_batch_size(cfg: Config, size: int) -> None:
    """Set the number of images of a training batch on each process.

    Raises:
        UserError: a batch sampler that sets its own size.
    """
    sampler = cfg.train_dataloader.get('batch_sampler') or {}
    if 'batch_size' in sampler:
        raise UserError(
            f'--batch-size: {sampler["type"]} sets the batch; use --cfg-options train_dataloader.batch_sampler.batch_size=N.'
        )
    cfg.train_dataloader.batch_size = size


def check_batch_size(runner: Runner, size: int) -> str:
    """Check a batch size of the user against the training data; returns a note on the learning rate.

    Raises:
        UserError: fewer images than a batch has.
    """
    images = len(runner.train_dataloader.dataset)
    each = -(-images // runner.world_size)
    if size > each:
        shared = f' for each of {runner.world_size} processes' if runner.world_size > 1 else ''
        raise UserError(f'--batch-size {size}: the data set has {each} training images{shared}; give at most {each}.')
    return rate_note(runner.cfg, size * runner.world_size)


def rate_note(cfg: Config, batch: int) -> str:
    """Return a sentence on the learning rate of a training with ``batch`` images in a step."""
    rate, scaling = cfg.optim_wrapper.optimizer.lr, cfg.get('auto_scale_lr') or {}
    if not scaling.get('enable'):
        return f'learning rate {rate:.3g} for a batch of {batch}: this config does not scale it (auto_scale_lr.enable).'
    base = scaling['base_batch_size']
    return f'learning rate {rate * batch / base:.3g} for a batch of {batch}: {rate:.3g} is for a batch of {base}.'


def set_workers(cfg: Config, count: int, splits: Iterable[str] = ('train', 'val')) -> None:
    """Set the number of loader processes; 0 loads in the process of the training."""
    for loader in (cfg.get(f'{split}_dataloader') for split in splits):
        if loader:
            loader.num_workers = count
            if not count:  # torch accepts these with processes only
                loader.persistent_workers = False
                loader.pop('prefetch_factor', None)


# Threads and device -------------------------------------------------------------------------------------------------------


def physical_cores(cpus: Iterable[int]) -> int:
    """Return the number of physical cores of these CPUs; hardware threads of one core are one."""
    files = {cpu: Path(SIBLINGS.format(cpu)) for cpu in cpus}
    return len({file.read_text() if file.is_file() else str(cpu) for cpu, file in files.items()})


def free_cores(cpus: Sequence[int], load: float, total: int) -> int:
    """Return how many physical cores no other process uses, at least one.

    Args:
        cpus: those that this process can use.
        load: mean number of running processes of the machine.
        total: number of CPUs of the machine; the others run their share of the processes.
    """
    physical = physical_cores(cpus)
    return max(1, min(physical, round(len(cpus) * (1 - load / total))))


def set_threads(count: int | None) -> str | None:
    """Set the threads of torch in a training on a CPU; returns a note with the number and its reason, None on a GPU.

    A step on two OpenMP threads waits for the slower one: on two cores it takes 0.67 times as long as on one thread, but beside
    one busy process 22 times as long (results/training_threads.csv). Without ``count``, the variable OMP_NUM_THREADS or the
    number of free cores decides.

    Raises:
        UserError: more threads than CPUs.
    """
    if torch.cuda.is_available() and not count:
        return None
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else list(range(os.cpu_count() or 1))
    if count:
        reason = '--threads'
        if count > len(cpus):
            raise UserError(f'--threads {count}: this process has {len(cpus)} CPUs; give at most {len(cpus)}.')
    elif os.environ.get('OMP_NUM_THREADS', '').isdecimal():
        count, reason = torch.get_num_threads(), 'OMP_NUM_THREADS'
    else:
        load = machine_load()
        count = free_cores(cpus, load, os.cpu_count() or 1)
        reason = f'{physical_cores(cpus)} CPU cores, load of the last minute {load:.1f}; --threads N sets another number'
    torch.set_num_threads(count)
    return f'{counted(count, "CPU thread")} ({reason}).'


def set_device(device: str | None, launcher: str = 'none') -> None:
    """Let MMEngine train on a device: it uses the current GPU of torch if torch sees one.

    A training on the CPU of a machine with GPUs needs CUDA_VISIBLE_DEVICES=-1 before MMEngine is imported.

    Raises:
        UserError: no such device, or one for a training on several processes, each of which has its own.
    """
    if device is None:
        return
    if not re.fullmatch(r'cpu|cuda(:\d+)?', device):
        raise UserError(f'--device {device}: give cpu, cuda, or cuda with the number of a GPU, like cuda:1.')
    check_device(device)
    if ':' in device:
        if launcher != 'none':
            raise UserError(f'--device {device}: --launcher {launcher} gives each process its own GPU; leave --device out.')
        torch.cuda.set_device(device)


# Trackers -----------------------------------------------------------------------------------------------------------------


def check_trackers(names: Sequence[str]) -> None:
    """Check that the packages of trackers are installed.

    Raises:
        MissingPackageError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingPackageError(f'--{name} needs the package {name}: pip install {name}')


def add_trackers(runner: Runner, names: Sequence[str]) -> None:
    """Write the scalars of a training to TensorBoard or Weights & Biases too, in ``vis_data`` of its work directory.

    They are added to the visualizer of the Runner and not to its config, which later commands read.
    """
    folder = str(Path(runner.log_dir) / 'vis_data')
    for name in names:
        backend = VISBACKENDS.build(dict(type=TRACKERS[name], save_dir=folder, **_first_values(name, runner)))
        if name == 'tensorboard':
            backend.add_config(runner.cfg)
        runner.visualizer._vis_backends[TRACKERS[name]] = backend


def _first_values(name: str, runner: Runner) -> dict:
    """Return the arguments of a tracker; wandb's ``add_config`` would upload every Python file below the current folder."""
    if name != 'wandb':
        return {}
    return dict(init_kwargs=dict(name=Path(runner.work_dir).name, config=runner.cfg.to_dict()))

"""Work on several processes (``--launcher``), on GPUs with NCCL or on CPUs with gloo.

MMEngine 0.10 starts processes on GPUs only: it divides by their number, and gives a device to DistributedDataParallel. Here the
group exists before the Runner, which then uses it, so that only one process checks and converts data while the others wait.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from ..errors import RepeatedError, Stopped, UserError, one_line

Result = TypeVar('Result')

LAUNCH = 'torchrun --nproc_per_node 2 -m tinynet_mm train CONFIG --launcher pytorch'
NEEDED = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
NUMBERS = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT')
PATIENCE = timedelta(hours=2)  # that a process waits for the others, for instance while the first one checks COCO
LOST = ('closed by peer', 'reset by peer', 'gloo', 'NCCL')  # in torch's errors if another process has ended


@contextmanager
def group(launcher: str) -> Iterator[None]:
    """Join the other processes, and leave them at the end; only the first one prints. Nothing is done for ``none``.

    Raises:
        UserError: a launcher without its environment variables, more processes than GPUs, or another process has ended.
    """
    if launcher == 'none':
        yield
        return
    _join(launcher)
    if dist.get_rank():
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115 (until the process ends)
    try:
        yield
    except Stopped as reason:
        dist.destroy_process_group()
        raise reason if not int(os.environ['RANK']) else RepeatedError(str(reason)) from None
    except (RuntimeError, dist.DistError) as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in LOST):
            raise
        raise UserError(
            f'process {dist.get_rank()} lost another process of this run, whose own message says why; the same command with '
            '--resume continues.'
        ) from error
    dist.destroy_process_group()


def _join(launcher: str) -> None:
    if launcher == 'slurm':
        _from_slurm()
    if missing := [name for name in NEEDED if name not in os.environ]:
        raise UserError(f'--launcher {launcher}: {", ".join(missing)} are not set; start with {LAUNCH}, or with srun.')
    _check_numbers()
    os.environ.setdefault('MKL_NUM_THREADS', os.environ.get('OMP_NUM_THREADS', '1'))  # MMEngine warns if it is not set
    gpus, place = torch.cuda.device_count(), int(os.environ['LOCAL_RANK'])
    if gpus:
        if place >= gpus:
            raise UserError(f'more processes than the {gpus} GPUs of this machine; give --nproc_per_node {gpus}.')
        torch.cuda.set_device(place)
    try:
        dist.init_process_group('nccl' if gpus else 'gloo', timeout=PATIENCE)
    except (dist.DistError, ValueError, OSError) as error:
        address = '{MASTER_ADDR}:{MASTER_PORT}'.format(**os.environ)
        raise UserError(
            f'the processes cannot meet at {address} ({str(error).splitlines()[0][:200]}); give another address, or a port that '
            'is not in use: torchrun --master_port, or MASTER_PORT.'
        ) from error


def _check_numbers() -> None:
    """Raise UserError for environment variables of a launcher that are no numbers, or numbers that do not fit."""
    numbers = {}
    for name in NUMBERS:
        value = os.environ[name]
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise UserError(f'{name}={value[:40]!r} is not a number; start with {LAUNCH}, which sets it.')
        numbers[name] = int(value)
    rank, size, port = (numbers[name] for name in ('RANK', 'WORLD_SIZE', 'MASTER_PORT'))
    if rank >= size:
        raise UserError(
            f'RANK={rank} with WORLD_SIZE={size}: ranks are 0 to WORLD_SIZE - 1; start with {LAUNCH}, which sets them.'
        )
    if not 0 < port < 65536:
        raise UserError(f'MASTER_PORT={port}: ports are 1 to 65535; give one that is not in use.')


def _from_slurm() -> None:
    """Set the variables of torchrun from those of ``srun``."""
    names = dict(RANK='SLURM_PROCID', WORLD_SIZE='SLURM_NTASKS', LOCAL_RANK='SLURM_LOCALID')
    needed = [*names.values()] + ([] if 'MASTER_ADDR' in os.environ else ['SLURM_NODELIST'])
    if missing := [name for name in needed if name not in os.environ]:
        raise UserError(
            f'--launcher slurm works inside srun, but {", ".join(missing)} are not set; on one machine start with {LAUNCH}.'
        )
    os.environ.update({ours: os.environ[theirs] for ours, theirs in names.items()})
    if 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_host(os.environ['SLURM_NODELIST'])
    os.environ.setdefault('MASTER_PORT', '29500')


def _first_host(nodes: str) -> str:
    command = ['scontrol', 'show', 'hostnames', nodes]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise UserError(
            f'"{" ".join(command)}" does not name the first machine ({type(error).__name__}); set MASTER_ADDR to its address.'
        ) from error


def first(work: Callable[[], Result]) -> Result | None:
    """Run ``work`` on the first process while the others wait; they return None.

    Raises:
        RepeatedError: on the others, if ``work`` fails.
    """
    if not dist.is_initialized():
        return work()
    result, failure = None, None
    if dist.get_rank() == 0:
        try:
            result = work()
        except Exception as error:
            failure = error
    shared = [failure and one_line(failure)]
    dist.broadcast_object_list(shared, device=torch.device('cuda') if dist.get_backend() == 'nccl' else None)
    if failure:
        raise failure
    if shared[0] is not None:
        raise RepeatedError(shared[0])
    return result


def first_then_others(work: Callable[[], Result]) -> Result:
    """Run ``work`` on the first process, and then on the others, which find what it has written.

    Raises:
        RepeatedError: on the others, if the first one fails.
    """
    found = first(work)
    return work() if dist.is_initialized() and dist.get_rank() else found  # type: ignore[return-value]

"""One training of a sweep: a directory with its own config, seed, checkpoints, log of events and result.

Training is MMEngine's Runner, whose overhead over a bare loop was measured at 1 to 3 % of the CPU time with data held in memory
(:mod:`tinynet_mm.data.memory`; networks of 1 to 18 M multiply-adds, batches of 64), so a loop of our own would buy nothing.

A trial may be killed at any moment. The last two epochs' checkpoints are kept, so one of them is always whole; ``result.json``
appears only when complete, and its presence is what "done" means. A lock that dies with its process keeps two processes out of
one trial. After a resume the order of images and their augmentation are drawn again: the result is that of another seed.
"""

import csv
import fcntl
import hashlib
import json
import os
import platform
import socket
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..archs import scale
from ..data.folders import check_classes
from ..errors import UserError
from ..files import atomic, write_json, write_text
from ..mmlab.weights import read
from .folder import Settings, Sweep, is_done, read_result, scaling_of

METRIC = 'accuracy/top1'
PATIENCE_S = 20  # how long a trial's lock may outlive a process that is being killed
EVENTS = ('time', 'host', 'pid', 'event', 'detail')


class Busy(RuntimeError):
    """Another process is training this trial."""


def configure(cfg: Config, row: dict) -> Config:
    """The recipe ``cfg`` with the network, resolution and seed of ``row``."""
    settings, scaling = Settings.of(cfg), scaling_of(row)
    arch = scale(settings.base, scaling)
    if settings.named:
        spec = dict(base=settings.base.name, r=scaling.r, w=scaling.w, d=scaling.d, fixed_ends=scaling.fixed_ends)
    else:
        spec = asdict(arch)
    cfg = cfg.copy()
    cfg.merge_from_dict({key: arch.resolution for key in settings.resolution_keys})
    cfg.model.backbone['arch'] = spec
    cfg.model.head['in_channels'] = arch.hidden or arch.head or arch.stages[-1].channels
    cfg.merge_from_dict(dict(experiment_name=str(row['name']), randomness=dict(seed=int(row['seed']))))
    hooks = cfg.setdefault('default_hooks', {})
    hooks['checkpoint'] = dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)
    return cfg


def run_trial(folder: str | Path, train: Callable[[Path], dict] | None = None) -> None:
    """Train the trial in ``folder`` unless it is done; its result or its error then lies there. Raises nothing but Busy.

    ``train`` takes the folder and returns the result; by default :func:`train_with_runner`.
    """
    folder = Path(folder)
    with locked(folder):
        if is_done(folder):
            return
        (folder / 'error.txt').unlink(missing_ok=True)
        log_event(folder, 'start')
        try:
            result = (train or train_with_runner)(folder)
        except Exception as error:  # whatever stops one training must not stop the others; it is reported from error.txt
            log_event(folder, 'fail', type(error).__name__)
            first = ' '.join(str(error).split()) or type(error).__name__
            write_text(folder / 'error.txt', f'{type(error).__name__}: {first}\n\n{traceback.format_exc()}')
            return
        write_json(folder / 'result.json', result, durable=True)
        log_event(folder, 'finish')
        for path in checkpoints(folder / 'work'):
            path.unlink()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the trial's lock; Busy where another process keeps it for longer than a dying one would."""
    with (folder / 'lock').open('w') as file:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy(f'{folder.name} is being trained by another process.') from None
                time.sleep(0.1)
        yield


def log_event(folder: Path, event: str, detail: object = '') -> None:
    """Append a line to the trial's events.csv: what happened when, in which process of which machine."""
    path = folder / 'events.csv'
    with path.open('a', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        if not file.tell():
            writer.writerow(EVENTS)
        writer.writerow([datetime.now().isoformat(timespec='milliseconds'), socket.gethostname(), os.getpid(), event, detail])


def checkpoints(work: Path) -> list[Path]:
    """Checkpoints of a work directory, newest first."""
    return sorted(work.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]), reverse=True)


def newest_whole(work: Path) -> Path | None:
    """The newest checkpoint that is complete: a .pth is a zip file, whose directory is written last."""
    return next((path for path in checkpoints(work) if zipfile.is_zipfile(path)), None)


def train_with_runner(folder: Path) -> dict:
    """Train ``config.py`` with one thread, from the newest checkpoint where there is one; the accuracy with its protocol."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    cfg = Config.fromfile(folder / 'config.py')
    cfg.work_dir = str(folder / 'work')
    if checkpoint := newest_whole(folder / 'work'):
        cfg.load_from, cfg.resume = str(checkpoint), True
        log_event(folder, 'resume', checkpoint.stem)
    start = time.monotonic(), time.process_time()
    runner = Runner.from_cfg(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    metrics = recorder.metrics or runner.val()  # a trial killed behind its last epoch has no training left, only the validation
    _keep_weights(folder)
    device = next(runner.model.parameters()).device
    return dict(
        accuracy=float(metrics[METRIC]),
        metrics={key: float(value) for key, value in metrics.items()},
        epochs=runner.max_epochs,
        images=len(runner.train_dataloader.dataset),
        seconds=round(time.monotonic() - start[0], 1),
        cpu_seconds=round(time.process_time() - start[1], 1),
        resumed=checkpoint is not None,
        device=torch.cuda.get_device_name(device) if device.type == 'cuda' else f'{platform.machine()} CPU, one thread',
        host=socket.gethostname(),
        torch=torch.__version__,
    )


class Recorder(Hook):
    """Keeps the metrics of the last validation."""

    metrics: dict | None = None

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        self.metrics = metrics


def _keep_weights(folder: Path) -> None:
    """The last checkpoint without its optimizer, as weights.pth."""
    content = read(newest_whole(folder / 'work'))
    meta = {key: content['meta'][key] for key in ('cfg', 'dataset_meta', 'epoch') if key in content['meta']}
    with atomic(folder / 'weights.pth', durable=True) as temporary:
        torch.save(dict(state_dict=content['state_dict'], meta=meta), temporary)


def prepare(folder: Path, cfg: Config, row: dict, recipe: str) -> Path:
    """Write the config of a trial, unless it exists; ``recipe``, the fingerprint of the recipe, is kept beside it.

    Raises:
        UserError: the trial was prepared with another recipe.
    """
    mark = folder / 'recipe.sha256'
    if not (folder / 'config.py').is_file():
        write_text(mark, recipe + '\n')
        write_text(folder / 'config.py', configure(cfg, row).pretty_text)
    elif mark.is_file() and mark.read_text().strip() != recipe:
        raise UserError(
            f'{folder} was prepared before recipe.py changed: restore the recipe, or delete this folder and those of the other '
            'networks that are not done, to train them with the new one.'
        )
    return folder


def fingerprint(cfg: Config) -> str:
    """SHA-256 of a recipe's values; comments and layout do not change it."""
    return hashlib.sha256(json.dumps(cfg.to_dict(), sort_keys=True, default=str).encode()).hexdigest()


def pending(sweep: Sweep) -> tuple[list[Path], list[str]]:
    """Directories of the trials that are not done, made where missing, and a sentence for each result that is not whole.

    Raises ValueError or FileNotFoundError where the recipe's image folders are not there, or hold other classes than its head.
    """
    cfg, folders, remarks = sweep.recipe(), [], []
    recipe = fingerprint(cfg)
    check_data(cfg)
    for row in sweep.samples():
        folder = sweep.trial(row['name'])
        try:
            if read_result(folder) is not None:
                continue
        except ValueError as error:
            remarks.append(str(error))
        folders.append(prepare(folder, cfg, row, recipe))
    return folders, remarks


def check_data(cfg: Config) -> None:
    """Hold the folders of ``MemoryImages`` against the head's number of classes."""
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        if loader.dataset.type == 'MemoryImages':
            check_classes(loader.dataset.folder, cfg.model.head.num_classes)

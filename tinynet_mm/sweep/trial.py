"""One training of a sweep: a directory with its config, seed, checkpoints, log of events and result.

MMEngine's Runner trains it. Its overhead over a plain training loop was measured at 1 to 3 % of the CPU time with data in memory
(:mod:`tinynet_mm.data.memory`; networks of 1 to 18 M multiply-adds, batches of 64), so we do not write a loop ourselves.

A trial can be killed at any moment. The checkpoints of the last two epochs are kept, so at least one of them is complete.
``result.json`` is written atomically at the end; a trial that has it is done. A file lock, which ends with its process, prevents
two processes from training the same trial. A resumed trial draws the order of its images and their augmentation again: its
result equals that of another seed.
"""

import copy
import fcntl
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
from ..errors import UserError, listed
from ..files import atomic, csv_text, write_json, write_text
from ..mmlab.reading import read
from .folder import RANDOM, Settings, Sweep, is_done, read_result, scaling_of

METRIC = 'accuracy/top1'
TEST_KEYS = ('test_dataloader', 'test_evaluator', 'test_cfg')
PATIENCE_S = 20  # seconds to wait for the lock of a process that is being killed
EVENTS = ('time', 'host', 'pid', 'event', 'detail')


class Busy(RuntimeError):
    """Another process is training this trial."""


def configure(cfg: Config, row: dict) -> Config:
    """Return a copy of the recipe ``cfg`` with the network, resolution and seed of ``row``, a row of samples.csv.

    Only the networks of a comparison keep the test part of the recipe, and only if it has other images than the validation.
    """
    cfg = copy.deepcopy(cfg)  # Config.copy() is shallow
    settings, scaling = Settings.of(cfg), scaling_of(row)
    arch = scale(settings.base, scaling)
    if settings.named:
        spec = dict(base=settings.base.name, r=scaling.r, w=scaling.w, d=scaling.d, fixed_ends=scaling.fixed_ends)
    else:
        spec = asdict(arch)
    cfg.merge_from_dict(settings.sides(arch.resolution))
    cfg.model.backbone['arch'] = spec
    cfg.model.head['in_channels'] = arch.hidden or arch.head or arch.stages[-1].channels
    cfg.merge_from_dict(dict(experiment_name=str(row['name']), randomness=dict(seed=int(row['seed']))))
    same = cfg.get('test_dataloader', {}).get('dataset') == cfg.val_dataloader.get('dataset')  # as many recipes have it
    if row['method'] == RANDOM or same:  # what the search reads must not be the test part
        for key in TEST_KEYS:
            cfg.pop(key, None)
    hooks = cfg.setdefault('default_hooks', {})
    hooks['checkpoint'] = dict(type='CheckpointHook', interval=1, max_keep_ckpts=2)
    return cfg


def run_trial(folder: str | Path, train: Callable[[Path], dict] | None = None) -> None:
    """Train the trial in ``folder`` unless it is done; write ``result.json``, or ``error.txt`` if the training fails.

    Args:
        folder: the directory of the trial, with ``config.py``.
        train: takes the folder and returns the result; :func:`train_with_runner` by default.

    Raises:
        Busy: another process trains this trial. Errors of the training are written to ``error.txt`` instead.
    """
    folder = Path(folder)
    with locked(folder):
        if is_done(folder):
            return
        (folder / 'error.txt').unlink(missing_ok=True)
        log_event(folder, 'start')
        try:
            result = (train or train_with_runner)(folder)
        except Exception as error:  # the failure of one trial must not stop the others; error.txt reports it
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
    """Hold the lock of the trial in ``folder``.

    Raises:
        Busy: another process holds the lock for more than ``PATIENCE_S`` seconds.
    """
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
    """Append an event to the trial's events.csv, with the time, the machine and the process id."""
    values = (datetime.now().isoformat(timespec='milliseconds'), socket.gethostname(), os.getpid(), event, detail)
    header, line = csv_text([dict(zip(EVENTS, values))]).splitlines(keepends=True)
    with (folder / 'events.csv').open('a', newline='') as file:
        file.write(line if file.tell() else header + line)


def checkpoints(work: Path) -> list[Path]:
    """Return the checkpoints ``epoch_N.pth`` of a work directory, newest first."""
    return sorted(work.glob('epoch_*.pth'), key=lambda path: int(path.stem.split('_')[1]), reverse=True)


def newest_complete(work: Path) -> Path | None:
    """Return the newest complete checkpoint, or None: a .pth is a zip file, and its directory is written last."""
    return next((path for path in checkpoints(work) if zipfile.is_zipfile(path)), None)


def train_with_runner(folder: Path) -> dict:
    """Train the config of the trial in ``folder`` with one thread, from its newest checkpoint if it has one.

    Returns:
        the accuracy (top-1, per cent) after the last epoch with its protocol: epochs, images, seconds, device, versions. If the
        config has a test part, also ``test_accuracy`` on it.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    cfg = Config.fromfile(folder / 'config.py')
    cfg.work_dir = str(folder / 'work')
    if checkpoint := newest_complete(folder / 'work'):
        cfg.load_from, cfg.resume = str(checkpoint), True
        log_event(folder, 'resume', checkpoint.stem)
    start = time.monotonic(), time.process_time()
    runner = Runner.from_cfg(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    metrics = recorder.metrics or runner.val()  # a trial killed after its last epoch only needs the validation
    tested = dict(test_accuracy=float(runner.test()[METRIC])) if cfg.get('test_dataloader') else {}
    _keep_weights(folder)
    device = next(runner.model.parameters()).device
    return tested | dict(
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
    """Keep the metrics of the last validation in ``metrics``."""

    metrics: dict | None = None

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Store the metrics."""
        self.metrics = metrics


def _keep_weights(folder: Path) -> None:
    """Write the newest checkpoint without its optimizer as weights.pth."""
    checkpoint = newest_complete(folder / 'work')
    if checkpoint is None:
        raise FileNotFoundError(f'{folder / "work"} has no complete checkpoint.')
    content = read(checkpoint)
    meta = {key: content['meta'][key] for key in ('cfg', 'dataset_meta', 'epoch') if key in content['meta']}
    with atomic(folder / 'weights.pth', durable=True) as temporary:
        torch.save(dict(state_dict=content['state_dict'], meta=meta), temporary)


def pending(sweep: Sweep) -> tuple[list[Path], list[str]]:
    """Prepare the trials that are not done.

    Returns:
        the directories of these trials, and a sentence for each result that is incomplete.

    Raises:
        UserError: the recipe was edited after trials were prepared, or its image folders do not match the classes of its head.
        FileNotFoundError: an image folder is missing.
    """
    cfg, rows = sweep.recipe(), sweep.samples()
    check_data(cfg)
    check_recipe(sweep, cfg, rows)
    folders, remarks = [], []
    for row in rows:
        folder = sweep.trial(row['name'])
        try:
            if read_result(folder) is not None:
                continue
        except UserError as error:
            remarks.append(str(error))
        folders.append(folder)
        if not (folder / 'config.py').is_file():
            write_text(folder / 'config.py', configure(cfg, row).pretty_text)
    return folders, remarks


def check_recipe(sweep: Sweep, cfg: Config, rows: list[dict]) -> None:
    """Check that the config of each trial, done or not, is the one that the recipe ``cfg`` gives.

    Raises:
        UserError: recipe.py, or the config of a trial, was edited; the message names the first key that differs.
    """
    differences = {}
    for row in rows:
        path = sweep.trial(row['name']) / 'config.py'
        if path.is_file() and (found := _difference(_written(path, row), configure(cfg, row).to_dict())):
            differences[str(row['name'])] = found
    if differences:
        key, old, new = next(iter(differences.values()))
        raise UserError(
            f'{sweep.path / "recipe.py"} has {key} = {new}, but the config.py of {listed(list(differences))} in '
            f'{sweep.path / "trials"} has {old}; all networks of a sweep need the same recipe: restore recipe.py, delete the '
            'folders of these networks to train them again, or start another sweep.'
        )


def _written(path: Path, row: dict) -> dict:
    """Return the config of a trial; what :func:`configure` sets is set again, since older versions wrote it differently."""
    return configure(Config.fromfile(path, import_custom_modules=False), row).to_dict()


def _difference(old: object, new: object, key: str = '') -> tuple[str, str, str] | None:
    """Return the first key with different values, with both values as text; None if all are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = {name: (old.get(name, 'nothing'), new.get(name, 'nothing')) for name in {**old, **new}}
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        pairs = {str(number): pair for number, pair in enumerate(zip(old, new))}
    else:
        return None if old == new else (key, _shortened(old), _shortened(new))
    found = (_difference(*pair, f'{key}.{name}'.lstrip('.')) for name, pair in pairs.items())
    return next((item for item in found if item), None)


def _shortened(value: object) -> str:
    text = 'nothing' if value == 'nothing' else repr(value)
    return text if len(text) <= 60 else f'{text[:57]}...'


def check_data(cfg: Config) -> None:
    """Check that the image folders of ``MemoryImages`` have as many classes as the head of the recipe ``cfg``.

    Raises:
        UserError: the number of classes differs.
        FileNotFoundError: a folder is missing.
    """
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.get('test_dataloader')):
        if loader and loader.dataset.type == 'MemoryImages':
            check_classes(loader.dataset.folder, cfg.model.head.num_classes)

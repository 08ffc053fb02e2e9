"""Train detectors with several seeds on one data set: a row with cost, CPU time and accuracy for each training.

Each training is ``tools/train.py --schedule short`` in a process of its own with one thread, and ``tools/test.py`` with its last
checkpoint. A row is written when its training ends; a training whose row exists is not repeated, and one that was
interrupted continues. The column of the CPU time is empty on a GPU, and for a training whose benchmark was stopped.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from ..data.coco import find_layout
from ..errors import UserError
from ..files import check_writable, machine_name, read_csv, write_csv, write_json
from ..logs import read
from ..mmlab.configs import config_name, load_config
from ..mmlab.counting import count_config
from ..mmlab.editing import prepare

SCORES = {'mAP': 'coco/bbox_mAP', 'mAP_50': 'coco/bbox_mAP_50'}
KEY = ('config', 'data', 'seed', 'input_size', 'epochs', 'weights')  # columns that name a training
GROUP = tuple(name for name in KEY if name != 'seed')  # of the trainings that differ in their seed only
SCRATCH = 'scratch'
CLOCK = 'cpu_minutes.json'


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        config: path of the config of the detector.
        data_root: folder of the data set.
        seed: of the weights and the augmentation.
        input_size: side of the square input in pixels.
        epochs: length of the training.
        runs: folder of the work directories.
        checkpoint: file of the weights from which the backbone starts; None for random weights.
    """

    config: str
    data_root: Path
    seed: int
    input_size: int
    epochs: int
    runs: Path
    checkpoint: Path | None = None

    @property
    def weights(self) -> str:
        """What the backbone starts from, as in the table."""
        return self.checkpoint.stem if self.checkpoint else SCRATCH

    @property
    def folder(self) -> Path:
        """The work directory."""
        config, data, seed, size, epochs, weights = self.key
        return self.runs / f'{data}_{config}_{size}_{epochs}_{weights}_{seed}'

    @property
    def key(self) -> tuple[str, ...]:
        """The values of :data:`KEY`, as a CSV file has them."""
        return tuple(
            map(str, (config_name(self.config), self.data_root.name, self.seed, self.input_size, self.epochs, self.weights))
        )


def compare(
    configs: Sequence[str],
    data_root: Path,
    seeds: Sequence[int],
    input_size: int,
    epochs: int,
    runs: Path,
    out: Path,
    tools: Path,
    jobs: int = 1,
    note: Callable[[str], object] = lambda text: None,
    checkpoint: Path | None = None,
) -> list[dict]:
    """Train every config with every seed.

    Args:
        configs: paths of configs of detectors.
        data_root: folder of the data set.
        seeds: one training for each.
        input_size: side of the square input in pixels.
        epochs: length of each training.
        runs: folder of the work directories.
        out: the CSV file; its other rows are kept.
        tools: the folder of ``train.py`` and ``test.py``.
        jobs: trainings at the same time.
        note: receives a line for each training that ends.
        checkpoint: file of the weights from which all backbones start; None for random weights.

    Returns:
        all rows of ``out``.

    Raises:
        FileNotFoundError, UserError: a config or a data set that cannot be read, or a training that fails.
    """
    check_writable(out)
    if checkpoint and not checkpoint.is_file():
        raise FileNotFoundError(f'{checkpoint}: no such file of weights.')
    layout, rows = find_layout(data_root, hold_out=True, note=note), read_csv(out, KEY[2:5]) if out.is_file() else []
    known = {tuple(str(row[name]) for name in KEY) for row in rows}
    trials = [Trial(config, data_root, seed, input_size, epochs, runs, checkpoint) for seed, config in product(seeds, configs)]
    costs = {config: _cost(config, data_root, input_size) for config in configs}
    splits = [split for split in ('val', 'test') if getattr(layout, split)]
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(_run, trial, splits, tools): trial for trial in trials if trial.key not in known}
        try:
            for done in as_completed(waiting):
                row = dict(zip(KEY, waiting[done].key)) | costs[waiting[done].config] | done.result()
                rows.append(row)
                write_csv(out, rows)
                minutes = f' after {row["cpu_minutes"]} minutes of CPU' if row['cpu_minutes'] else ''
                note(f'{row["config"]} seed {row["seed"]}: val mAP {row["val_mAP"]}{minutes}')
        finally:
            pool.shutdown(cancel_futures=True)
    return rows


def _cost(config: str, data_root: Path, input_size: int) -> dict:
    """The input size and the cost of a detector for the classes of the data set.

    Raises:
        FileNotFoundError, UserError: as :func:`~tinynet_mm.mmlab.editing.prepare`.
    """
    cfg = prepare(load_config(config), data_root, input_size, ('train',))
    parts = count_config(cfg)[1].values()
    return dict(macs=sum(part.macs for part in parts), params=sum(part.params for part in parts))


def _run(trial: Trial, splits: Sequence[str], tools: Path) -> dict:
    """Train, unless the training is complete, and test; returns the measured part of a row."""
    common = ['--data-root', trial.data_root, '--input-size', trial.input_size]
    train = [tools / 'train.py', trial.config, *common, '--schedule', 'short', '--epochs', trial.epochs]
    train += ['--workers', 0, '--threads', 1, '--work-dir', trial.folder]
    train += [] if trial.checkpoint else ['--from-scratch']
    train += ['--cfg-options', f'randomness.seed={trial.seed}']
    train += [f'model.backbone.init_cfg.checkpoint={trial.checkpoint.resolve()}'] if trial.checkpoint else []
    last = trial.folder / f'epoch_{trial.epochs}.pth'
    if not last.is_file():
        _call([*train, *(['--resume'] if (trial.folder / 'last_checkpoint').is_file() else [])], trial.folder)
    scores: dict[str, object] = {f'{split}_{name}': '' for split in ('val', 'test') for name in SCORES}
    for split in splits:
        out = trial.folder / split
        _call([tools / 'test.py', trial.config, last, *common, '--split', split, '--out', out], trial.folder, clock=False)
        metrics = json.loads((out / 'metrics.json').read_text())['metrics']
        scores |= {f'{split}_{name}': round(metrics[key], 3) for name, key in SCORES.items()}
    epochs, values = read([trial.folder])[0].series(f'val/{SCORES["mAP"]}')
    best = dict(best_val_mAP=round(float(values.max()), 3), best_epoch=int(epochs[values.argmax()]))
    minutes = json.loads((trial.folder / CLOCK).read_text())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ''  # CPU minutes beside a GPU say nothing of a CPU
    protocol = dict(schedule='short', threads=1, machine=gpu or machine_name())
    return dict(cpu_minutes='' if gpu or None in minutes else round(sum(minutes), 1)) | scores | best | protocol


def _call(command: Sequence[object], folder: Path, clock: bool = True) -> None:
    """Run a tool with one thread; its output is in ``log.txt``, and its CPU time is added to the file :data:`CLOCK`.

    While the tool runs, null is in the place of its time. It remains there if this process is stopped, and the time of the
    training is then not known.

    Raises:
        UserError: it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CLOCK
    earlier = json.loads(path.read_text()) if path.is_file() else []
    if clock:
        write_json(path, [*earlier, None])
    with (folder / 'log.txt').open('a') as log:
        environment = os.environ | dict(OMP_NUM_THREADS='1')
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=log, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if clock:
        write_json(path, [*earlier, (usage.ru_utime + usage.ru_stime) / 60])
    if process.returncode:
        raise UserError(f'{" ".join(map(str, command[:2]))} fails, see {folder / "log.txt"}.')


def grouped(rows: Sequence[dict]) -> dict[tuple[str, ...], list[dict]]:
    """The rows of the trainings that differ in their seed only, by the values of :data:`GROUP`."""
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in GROUP), []).append(row)
    return groups


def table(rows: Sequence[dict]) -> Iterator[dict]:
    """One line for each config, data set and length: cost, mean and range of the accuracy over the seeds."""
    for (config, data, size, epochs, weights), members in grouped(rows).items():
        line = dict(config=config, data=data, input=size, epochs=epochs, weights=weights, seeds=len(members))
        line |= {'MACs (M)': f'{float(members[0]["macs"]) / 1e6:.0f}', 'params (M)': f'{float(members[0]["params"]) / 1e6:.2f}'}
        for name in ('cpu_minutes', 'val_mAP', 'best_val_mAP', 'test_mAP'):
            values = [float(row[name]) for row in members if row.get(name) not in (None, '')]
            line[name] = f'{sum(values) / len(values):.3g} ({min(values):.3g} to {max(values):.3g})' if values else ''
        yield line

"""The final scores of trainings as a table: one row for each network and learning rate, mean and deviation over the seeds.

It compares networks under one recipe, for instance TinyNet-E and EfficientNet-B-4 of figure 4. It reads MMEngine's logs and the
config next to each log; no model is trained or validated.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from .. import files
from ..archs import FAMILIES, Arch, resolve
from ..cost import cost
from ..errors import UserError
from ..logs import read
from ..mmlab.configs import input_side, is_classifier, load_config

# column -> key of the log; the keys without raw/ are of the averaged model, if the training had an EMAHook
SCORES = {
    'top1': 'val/accuracy/top1',
    'raw_top1': 'val/raw/accuracy/top1',
    'cross_entropy': 'val/cross_entropy',
    'raw_cross_entropy': 'val/raw/cross_entropy',
    'train_loss': 'train/loss',
}
TESTED = 'test_top1'  # from the metrics.json that `tinynet test` writes beside the checkpoint; empty without it
RECIPE = ('resolution', 'macs', 'params', 'epochs', 'batch')
BASES = {family.backbone: family.base for family in FAMILIES.values()}


def read_runs(work_dirs: Sequence[str | Path]) -> list[dict]:
    """Return network, seed, recipe, cost (MACs, parameters) and last scores of each training.

    Raises:
        FileNotFoundError: a folder without a log.
        UserError: a log without its config, a detector, or a training that is not complete.
    """
    return [_row(Path(folder)) for folder in work_dirs]


def _row(folder: Path) -> dict:
    run, cfg = read([folder])[0], _config(folder)
    head: Any = cfg.model.get('head') or {}
    backbone = cfg.model.get('backbone')
    if not (is_classifier(cfg) and 'num_classes' in head and isinstance(backbone, dict) and 'arch' in backbone):
        words = 'of a classifier with one of our backbones; for a detector, use `tinynet report` or `tinynet plot`'
        raise UserError(f'{folder} is not a training {words}.')
    arch, side = _arch(cfg), input_side(cfg)
    macs, params, _ = cost(arch, side, head.num_classes)
    row = dict(name=arch.name, seed=cfg.randomness.get('seed'), resolution=side, macs=macs, params=params)
    if 'max_epochs' not in cfg.train_cfg:
        raise UserError(f'{folder}: the training counts iterations; only trainings that count epochs are compared.')
    row |= dict(epochs=cfg.train_cfg.max_epochs, batch=cfg.train_dataloader.batch_size)
    last = {column: run.series(key) for column, key in SCORES.items()}
    if not len(last['top1'][0]):
        raise UserError(f'{folder}: the log has no val/accuracy/top1; continue with --resume until the training is validated.')
    if last['top1'][0][-1] < cfg.train_cfg.max_epochs:
        raise UserError(f'{folder}: stopped at epoch {last["top1"][0][-1]:g} of {row["epochs"]}; continue with --resume.')
    row |= {column: float(values[-1]) if len(values) else None for column, (_, values) in last.items()}
    row |= {'lr': cfg.optim_wrapper.optimizer.lr, TESTED: _tested(folder)}
    return row | dict(seconds_per_step=statistics.median(run.series('train/time')[1].tolist()))


def _tested(folder: Path) -> float | None:
    file = folder / 'metrics.json'
    metrics: Any = files.read_json(file) if file.is_file() else {}
    return metrics.get('metrics', {}).get('accuracy/top1')


def _config(folder: Path) -> Config:
    found = folder.rglob('vis_data/config.py')
    trained = [path for path in found if 'test' not in path.relative_to(folder).parts]  # `tinynet test` writes into test/
    configs = sorted(trained, key=lambda path: path.stat().st_mtime)
    if not configs:
        raise UserError(f'{folder}: no vis_data/config.py next to the log, so network and seed are unknown.')
    return load_config(str(configs[-1]))


def _arch(cfg: Config) -> Arch:
    backbone = cfg.model.backbone
    arch = backbone.arch.to_dict() if hasattr(backbone.arch, 'to_dict') else backbone.arch
    tiny = backbone.type == 'TinyNet' and isinstance(arch, str) and len(arch) == 1
    return resolve(f'tinynet_{arch}' if tiny else arch, BASES.get(backbone.type, 'efficientnet_b0'))


def pool(rows: Sequence[dict]) -> list[dict]:
    """One row for each network and learning rate: mean and deviation (over the seeds, n - 1; empty for one seed) of each score.

    Raises:
        UserError: runs of one network that differ in more than seed and learning rate, or the same seed twice.
    """
    pooled = []
    for name, lr in dict.fromkeys((row['name'], row['lr']) for row in rows):
        runs = [row for row in rows if (row['name'], row['lr']) == (name, lr)]
        if len({tuple(row[key] for key in RECIPE) for row in runs}) > 1:
            raise UserError(f'{name}: runs that differ in {", ".join(RECIPE)} cannot be one row; give the runs of one recipe.')
        seeds = [row['seed'] for row in runs]
        if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise UserError(
                f'{name}: two runs have the seed {repeated[0]}; give each run once (--cfg-options randomness.seed=1).'
            )
        summary = dict(name=name, lr=lr, seeds=len(runs)) | {key: runs[0][key] for key in RECIPE}
        for column in (TESTED, *SCORES, 'seconds_per_step'):
            values = [row[column] for row in runs if row[column] is not None]
            summary[column] = round(statistics.mean(values), 4) if values else ''
            summary[f'{column}_std'] = round(statistics.stdev(values), 4) if len(values) > 1 else ''
        pooled.append(summary)
    return pooled


def write_csv(rows: Sequence[dict], path: str | Path, protocol: str) -> None:
    """Write the rows, each with the protocol, in one atomic step."""
    files.write_csv(path, [{**row, 'protocol': protocol} for row in rows])

"""Final scores of trainings as a table: one row a network, mean and spread over its seeds.

For comparing networks under one recipe, such as figure 4's TinyNet-E and EfficientNet-B-4. Reads MMEngine's logs and the config
that MMEngine writes beside them; nothing is trained or validated again.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from .. import files
from ..archs import FAMILIES, Arch, resolve
from ..cost import cost
from ..errors import UserError
from ..logs import read

# column -> key of the log; the plain keys belong to the averaged model where an EMAHook was at work
SCORES = {
    'top1': 'val/accuracy/top1',
    'raw_top1': 'val/raw/accuracy/top1',
    'cross_entropy': 'val/cross_entropy',
    'raw_cross_entropy': 'val/raw/cross_entropy',
    'train_loss': 'train/loss',
}
RECIPE = ('resolution', 'macs', 'params', 'epochs', 'batch')


BASES = {family.backbone: family.base for family in FAMILIES.values()}


def read_runs(work_dirs: Sequence[str | Path]) -> list[dict]:
    """Network, seed, recipe, cost and last scores of each training.

    Raises:
        FileNotFoundError, UserError: a folder without a training, or without the config that MMEngine keeps beside the log.
    """
    return [_row(Path(folder)) for folder in work_dirs]


def _row(folder: Path) -> dict:
    run, cfg = read([folder])[0], _config(folder)
    arch, side = _arch(cfg), _resolution(cfg)
    macs, params, _ = cost(arch, side, cfg.model.head.num_classes)
    row = dict(name=arch.name, seed=cfg.randomness.get('seed'), resolution=side, macs=macs, params=params)
    row |= dict(epochs=cfg.train_cfg.max_epochs, batch=cfg.train_dataloader.batch_size)
    last = {column: run.series(key) for column, key in SCORES.items()}
    if last['top1'][0][-1] < cfg.train_cfg.max_epochs:
        raise UserError(f'{folder}: stopped at epoch {last["top1"][0][-1]:g} of {row["epochs"]}; continue with --resume.')
    row |= {column: float(values[-1]) if len(values) else None for column, (_, values) in last.items()}
    return row | dict(seconds_per_step=statistics.median(run.series('train/time')[1].tolist()))


def _config(folder: Path) -> Config:
    configs = sorted(folder.rglob('vis_data/config.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise UserError(f'{folder}: no vis_data/config.py beside the log, so network and seed are unknown.')
    return Config.fromfile(configs[-1])


def _arch(cfg: Config) -> Arch:
    backbone = cfg.model.backbone
    arch = backbone.arch if isinstance(backbone.arch, str) else backbone.arch.to_dict()
    tiny = backbone.type == 'TinyNet' and len(arch) == 1
    return resolve(f'tinynet_{arch}' if tiny else arch, BASES.get(backbone.type, 'efficientnet_b0'))


def _resolution(cfg: Config) -> int:
    return cfg.model.data_preprocessor.get('resolution') or cfg.val_dataloader.dataset.pipeline[-2].crop_size


def pool(rows: Sequence[dict]) -> list[dict]:
    """One row a network: mean and standard deviation (over the seeds, n - 1; empty for one seed) of every score.

    Raises:
        UserError: runs of one network that differ in more than the seed, or the same seed twice.
    """
    pooled = []
    for name in dict.fromkeys(row['name'] for row in rows):
        runs = [row for row in rows if row['name'] == name]
        if len({tuple(row[key] for key in RECIPE) for row in runs}) > 1:
            raise UserError(f'{name}: runs of different {", ".join(RECIPE)} cannot be one row; give those of one recipe.')
        if len({row['seed'] for row in runs}) < len(runs):
            raise UserError(
                f'{name}: seed {runs[0]["seed"]} is there twice; give each run once (--cfg-options randomness.seed=1).'
            )
        summary = dict(name=name, seeds=len(runs)) | {key: runs[0][key] for key in RECIPE}
        for column in (*SCORES, 'seconds_per_step'):
            values = [row[column] for row in runs if row[column] is not None]
            summary[column] = round(statistics.mean(values), 4) if values else ''
            summary[f'{column}_std'] = round(statistics.stdev(values), 4) if len(values) > 1 else ''
        pooled.append(summary)
    return pooled


def write_csv(rows: Sequence[dict], path: str | Path, protocol: str) -> None:
    """The rows with the protocol repeated in each; the file appears whole or not at all."""
    files.write_csv(path, [{**row, 'protocol': protocol} for row in rows])

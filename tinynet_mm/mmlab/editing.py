"""Change a config for a data set, an input size, a number of epochs or a schedule."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim.scheduler.param_scheduler import INF

from ..data.coco import adopt, splits_of
from ..data.folders import check_classes
from ..errors import UserError
from ..files import to_number
from .configs import SIZES, SPLITS, check_text, input_side, is_classifier, walk
from .registration import names_config

LOGGER = logging.getLogger(__name__)
LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
STARTS = ('fork', 'spawn', 'forkserver')
LARGEST_RATE = 1e30  # above, the numbers of float32 end
MOST_CLASSES = 100_000
LARGEST_SIDE = 8192  # of an input in pixels
STRIDE = 32  # largest stride of the backbones
POINT_HEADS = (
    'LightHead',
    'RTMDetHead',
    'RTMDetSepBNHead',
    'AnyDeviceRTMDetHead',
    'YOLOXHead',
    'AnyDeviceYOLOXHead',
)  # their points follow the size of the maps
SCHEDULES = {'short': Path(__file__).parents[1] / 'schedules' / 'short.py'}


def set_input_size(cfg: Config, size: int) -> None:
    """Set the input to ``size`` x ``size`` pixels: the anchors of the head, and every transform with the old size or twice it.

    Mosaics and the crops after them work on canvases of twice the size.

    Raises:
        UserError: a head whose anchors or points do not follow the size, or a size that the head cannot process.
    """
    head = cfg.model.get('bbox_head', {})
    if 'input_size' not in head and not has_points(head):
        known = ', '.join(POINT_HEADS)
        raise UserError(f'--input-size works with SSDLite, {known}; the head of this config is {head.get("type")}.')
    check_side(size, head)
    before = input_side(cfg)
    if 'input_size' in head:
        head.input_size = size
    for part in walk([value for key, value in cfg.items() if key.endswith(('_dataloader', '_pipeline', '_hooks'))]):
        for key in (*SIZES, 'img_scale'):
            found = part.get(key)
            sides = set(found) if isinstance(found, list | tuple) else {found}
            if sides in ({before}, {2 * before}):
                side = sides.pop() // before * size
                part[key] = side if isinstance(found, int) else (side, side)


def check_side(size: int, head: Mapping[str, Any]) -> None:
    """Raise UserError for an input that is too small or too large, or that the points of this head do not divide."""
    if not 32 <= size <= LARGEST_SIDE:
        raise UserError(f'an input of {size} pixels: give 32 to {LARGEST_SIDE} pixels.')
    if has_points(head) and size % STRIDE:
        raise UserError(f'an input of {size} pixels does not fit {head.get("type")}: give a multiple of {STRIDE}.')


def split_side(name: str) -> tuple[str, int | None]:
    """A config with the side of its input after it, for instance ``rtmdet_tinynet_d_coco@416``, as config and side.

    Raises:
        UserError: a side that is not a whole number.
    """
    config, mark, side = name.rpartition('@')
    if not mark or '/' in side or not names_config(config):
        return name, None
    if not re.fullmatch('[0-9]+', side):
        raise UserError(f'{name}: after @ give the side of the input in pixels, for instance {config}@320.')
    return config, int(side)


def has_points(head: Mapping[str, Any]) -> bool:
    """Whether a head has points on the maps, so that the largest stride of the backbone must divide the sides of its input."""
    return str(head.get('type')).split('.')[-1] in POINT_HEADS


def prepare(
    cfg: Config,
    data_root: Path | None = None,
    input_size: int | None = None,
    splits: Sequence[str] = SPLITS,
    note: Callable[[str], object] = LOGGER.warning,
    val_share: float | None = None,
) -> Config:
    """Apply ``--data-root``, ``--input-size`` and ``--val-share``.

    Args:
        cfg: the config, which is changed.
        data_root: folder of a data set; None keeps the data of the config.
        input_size: side of the square input in pixels; None keeps the size of the config.
        splits: the splits that the caller uses.
        note: receives a sentence for converted data and for each split that another one replaces; by default it is logged.
        val_share: fraction of the images to hold out from a set without val and test; None keeps an earlier one, or is 0.2.

    Returns:
        ``cfg``.

    Raises:
        FileNotFoundError: no such folder.
        UserError: no data set in the folder, a folder whose name MMEngine evaluates, or a head without ``input_size``.
    """
    check_text(str(data_root), '--data-root')
    if data_root is not None and is_classifier(cfg):
        adopt_folder(cfg, data_root)
    elif data_root is not None:
        for text in adopt(cfg, data_root, splits, val_share, note).notes:
            note(text)
    if input_size is not None:
        set_input_size(cfg, input_size)
    return cfg


def adopt_folder(cfg: Config, root: Path) -> None:
    """Set the data of a classifier's config to a folder with train/<class>/ and val/<class>/, and its number of classes.

    Raises:
        FileNotFoundError: no folder ``train``.
        UserError: no class folders in it.
    """
    classes = len(check_classes(root / 'train'))
    for part in walk([cfg.get(f'{split}_dataloader') for split in SPLITS]):
        kind = str(part.get('type')).split('.')[-1]
        if kind == 'MemoryImages':
            part['folder'] = str(root / Path(part['folder']).name)
        elif kind == 'ClassFolders':
            part['data_root'] = str(root)
        elif kind in ('ImageNet', 'CustomDataset'):  # of mmpretrain's zoo
            split = 'train' if 'train' in (part.get('split'), part.get('data_prefix')) else 'val'
            pipeline = part['pipeline']
            part.clear()
            part.update(type='mmpretrain.CustomDataset', data_root=str(root), data_prefix=split, pipeline=pipeline)
    for part in walk([cfg.model, *(cfg.get(f'{split}_dataloader') for split in SPLITS)]):
        if 'num_classes' in part:
            part['num_classes'] = classes
    for part in walk([cfg.get(f'{split}_evaluator') for split in SPLITS]):
        if isinstance(part.get('topk'), list | tuple):  # mmpretrain refuses a top-5 accuracy of fewer than five classes
            part['topk'] = tuple(k for k in part['topk'] if k <= classes)


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for ``epochs`` epochs and scale every schedule that counts in epochs by the same ratio.

    Ends, periods, milestones and steps keep their share of the training, and so do the epochs at which hooks of mmdet and
    mmpretrain change the augmentation. The training ends with a validation. Schedules that count in iterations are not changed.

    Raises:
        UserError: less than one epoch, or a training that counts in iterations.
    """
    if epochs < 1:
        raise UserError(f'--epochs {epochs}: train for at least one epoch.')
    if 'max_epochs' not in cfg.train_cfg:
        raise UserError('--epochs: the training of this config counts in iterations; use --cfg-options train_cfg.max_iters=N.')
    ratio = epochs / cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = epochs
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        if scheduler.get('by_epoch', True):
            _scale(scheduler, ratio)
    if isinstance(schedulers, list):  # MMEngine refuses a schedule that ends where it begins
        cfg.param_scheduler = [s for s in schedulers if (s.get('begin') or 0) < (s.get('end') or INF)]
    _scale_validation(cfg.train_cfg, ratio)
    for hook in cfg.get('custom_hooks') or []:
        _scale_switch(hook, ratio, epochs)


def _scale_validation(loop: dict[str, Any], ratio: float) -> None:
    """Keep validation intervals within the training, and scale the epochs at which they change."""
    epochs = loop['max_epochs']
    for key in ('val_interval', 'val_begin'):
        if key in loop:
            loop[key] = min(loop[key], epochs)
    if loop.get('dynamic_intervals'):
        pairs = [(_epoch(begin, ratio, epochs), min(interval, epochs)) for begin, interval in loop['dynamic_intervals']]
        loop['dynamic_intervals'] = list(dict(pairs).items())  # of two changes at one epoch, the later one


def _scale_switch(hook: dict[str, Any], ratio: float, epochs: int) -> None:
    """Scale the epoch at which a hook of mmdet or mmpretrain changes the training; at least one epoch follows the change."""
    kind = str(hook['type']).split('.')[-1]
    if kind == 'PipelineSwitchHook':  # counts from 0
        hook['switch_epoch'] = min(round(hook['switch_epoch'] * ratio), epochs - 1)
    elif kind == 'YOLOXModeSwitchHook':  # 0 switches before the last epoch
        hook['num_last_epochs'] = min(round(hook.get('num_last_epochs', 15) * ratio), epochs - 1)
    elif kind == 'SwitchRecipeHook':
        recipes: dict[int, dict] = {}
        for recipe in hook['schedule']:
            epoch = _epoch(recipe['action_epoch'], ratio, epochs)
            recipes[epoch] = {**recipes.get(epoch, {}), **recipe, 'action_epoch': epoch}
        hook['schedule'] = list(recipes.values())


def _epoch(epoch: int, ratio: float, epochs: int) -> int:
    return min(max(1, round(epoch * ratio)), epochs)


def _whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and value >= least


def _is_number_of_classes(value: Any) -> bool:
    return _whole(value) and value <= MOST_CLASSES


CLASSES_WORDS = f'is no number of classes; give 1 to {MOST_CLASSES}'

# settings of a training that MMEngine does not check, or checks with a traceback after the data is read: the rule, and its words
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'train_cfg.max_epochs': (_whole, 'trains nothing; give a whole number above 0'),
    'train_cfg.max_iters': (_whole, 'trains nothing; give a whole number above 0'),
    'train_cfg.val_interval': (_whole, 'is no interval; give a whole number above 0'),
    'train_dataloader.batch_size': (_whole, 'is no batch; give a whole number above 0'),
    'train_dataloader.num_workers': (lambda value: _whole(value, 0), 'is no number of processes; give 0 or more'),
    'train_dataloader.dataset.pipeline': (bool, 'loads no images; give a list of transforms'),
    'optim_wrapper.optimizer.lr': (
        lambda value: 0 <= to_number(value) <= LARGEST_RATE,
        f'is no learning rate; give a number from 0 to {LARGEST_RATE:g}',
    ),
    'optim_wrapper.clip_grad.max_norm': (lambda value: to_number(value) > 0, 'is no norm; give a number above 0'),
    'default_hooks.checkpoint.interval': (
        lambda value: value == -1 or _whole(value),
        'is no interval; give a number above 0, or -1',
    ),
    'env_cfg.mp_cfg.mp_start_method': (lambda value: value in STARTS, f'starts no processes; give {", ".join(STARTS)}'),
    'model.bbox_head.num_classes': (_is_number_of_classes, CLASSES_WORDS),
    'model.head.num_classes': (_is_number_of_classes, CLASSES_WORDS),
    'randomness.seed': (lambda value: value is None or (_whole(value, 0) and value < 2**32), 'is no seed; give 0 to 4294967295'),
    'auto_scale_lr.base_batch_size': (_whole, 'is no batch; give a whole number above 0'),
    'load_from': (lambda value: value is None or isinstance(value, str), 'is no checkpoint; give the path of a file'),
    'custom_hooks': (lambda value: value is None or isinstance(value, list), 'are no hooks; give a list'),
    'log_level': (lambda value: value in LEVELS, f'is no level; give {", ".join(LEVELS)}'),
}


def check_training(cfg: Config) -> None:
    """Check the numbers of a training before it starts.

    Raises:
        UserError: a setting that breaks its rule.
    """
    for key, (fits, words) in RULES.items():
        *above, last = key.split('.')
        part: Any = cfg
        for name in above:
            part = part.get(name) if isinstance(part, Mapping | Config) else None
        if isinstance(part, Mapping | Config) and last in part and not fits(part.get(last)):
            raise UserError(f'{key}={part.get(last)} {words}.')


def limit_workers(cfg: Config, splits: Sequence[str], note: Callable[[str], object]) -> None:
    """Lower the number of loader processes to the number of CPU cores; more of them slow a machine down.

    Args:
        cfg: the config, which is changed.
        splits: the splits whose loaders are used.
        note: receives one sentence if a number was lowered.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    names = [f'{split}_dataloader' for split in splits]
    above = [name for name in names if (cfg.get(name) or {}).get('num_workers', 0) > cores]
    if above:
        before = max(cfg[name].num_workers for name in above)
        option = f'--cfg-options {above[0]}.num_workers={before}'
        note(f'this machine has {cores} CPU cores: {cores} loader processes instead of {before} ({option} keeps {before}).')
    for name in above:
        cfg[name].num_workers = cores


def _scale(scheduler: dict[str, Any], ratio: float) -> None:
    for key in ('begin', 'end', 'T_max', 'step_size', 'total_steps'):
        if scheduler.get(key) and scheduler[key] < INF:
            scheduler[key] = max(1, round(scheduler[key] * ratio))
    if 'milestones' in scheduler:
        scheduler['milestones'] = sorted({max(1, round(epoch * ratio)) for epoch in scheduler['milestones']})
    if 'periods' in scheduler:  # of CosineRestartLR
        scheduler['periods'] = [max(1, round(period * ratio)) for period in scheduler['periods']]
    if 'every' in scheduler:  # of StaircaseLR, in fractions of epochs
        scheduler['every'] *= ratio


def guard(cfg: Config) -> None:
    """Add StopOnNonFiniteLoss to the hooks of a training if the config does not have it."""
    hooks = cfg.get('custom_hooks') or []
    if not any(hook['type'] == 'StopOnNonFiniteLoss' for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type='StopOnNonFiniteLoss')]


def without_averages(cfg: Config) -> None:
    """Remove the hooks that average weights, because the ``state_dict`` of a checkpoint has the averaged weights already."""
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if not str(hook['type']).endswith('EMAHook')]


def apply_schedule(cfg: Config, name: str) -> None:
    """Merge a schedule of ``tinynet_mm/schedules`` into a config; the input keeps its size."""
    side = input_side(cfg)
    cfg.merge_from_dict(Config.fromfile(SCHEDULES[name]).to_dict())
    for part in walk([cfg.train_pipeline, cfg.train_dataloader]):
        if part.get('type') == 'SSDWarp':
            part['size'] = side


def set_amp(cfg: Config) -> None:
    """Train in mixed precision.

    Raises:
        UserError: no CUDA GPU.
    """
    if not torch.cuda.is_available():
        raise UserError('--amp needs a CUDA GPU, and torch sees none; leave it out to train in 32 bits.')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.loss_scale = 'dynamic'


def check_paths(cfg: Config, splits: Sequence[str]) -> None:
    """Check the paths of a config, and that the annotation files of these splits of a detector exist.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: a text that MMEngine evaluates when it reads the config again.
    """
    check_text(cfg, 'config')
    found = {} if is_classifier(cfg) else splits_of(cfg)
    for ann_file in (found[name].ann_file for name in splits if name in found):
        if not ann_file.is_file():
            raise FileNotFoundError(f'{ann_file} is missing: link COCO to data/coco, or give your data with --data-root DIR.')

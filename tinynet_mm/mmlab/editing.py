"""Configs changed for a data set, an input size, a number of epochs or a schedule."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config

from ..data.coco import adopt, splits_of
from ..data.folders import check_classes
from ..errors import UserError
from .configs import SPLITS, is_classifier, walk

LOG = logging.getLogger(__name__)
SCHEDULES = {'short': Path(__file__).parents[1] / 'schedules' / 'short.py'}


def set_input_size(cfg: Config, size: int) -> None:
    """Move the resizing of every pipeline and the head's anchors, with their strides, to ``size`` x ``size`` pixels."""
    head = cfg.model.get('bbox_head', {})
    if 'input_size' not in head:
        raise UserError(
            f'--input-size works with our SSDLite configs; the head of this one, {head.get("type")}, has no input_size.'
        )
    if size < 32:
        raise UserError(f'--input-size {size} is too small: at least 32 pixels, the stride of the backbone.')
    head.input_size = size
    for part in walk([cfg.get(f'{split}_dataloader') for split in SPLITS]):
        if part.get('type') == 'SSDWarp':
            part['size'] = size
        elif str(part.get('type')).endswith('Resize') and 'scale' in part:
            part['scale'] = (size, size)
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline


def prepare(
    cfg: Config,
    data_root: Path | None = None,
    input_size: int | None = None,
    splits: Sequence[str] = SPLITS,
    note: Callable[[str], object] = LOG.warning,
) -> Config:
    """Apply ``--data-root``, to the splits that will be read, and ``--input-size``; returns ``cfg``, which is changed.

    Args:
        cfg: the config to change.
        data_root: folder of a data set, or None.
        input_size: side of the square input in pixels, or None.
        splits: the splits that will be read.
        note: receives one sentence for each assumption that was made about the data.

    Raises:
        FileNotFoundError, UserError: the folder is missing or has another layout; the size does not fit the config.
    """
    if data_root is not None and is_classifier(cfg):
        adopt_folder(cfg, data_root)
    elif data_root is not None:
        for text in adopt(cfg, data_root, splits).notes:
            note(text)
    if input_size is not None:
        set_input_size(cfg, input_size)
    return cfg


def adopt_folder(cfg: Config, root: Path) -> None:
    """Point a classifier's config at a folder with train/<class>/ and val/<class>/, and count its classes."""
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


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many epochs; schedules that ended with the training still do."""
    before, cfg.train_cfg.max_epochs = cfg.train_cfg.max_epochs, epochs
    for scheduler in cfg.param_scheduler:
        for key in ('end', 'T_max'):
            if scheduler.get('by_epoch', True) and scheduler.get(key) == before:
                scheduler[key] = epochs


def apply_schedule(cfg: Config, name: str) -> None:
    """Merge a schedule of ``tinynet_mm/schedules`` (literals only) over the config's own."""
    cfg.merge_from_dict(Config.fromfile(SCHEDULES[name]).to_dict())


def check_paths(cfg: Config, splits: Sequence[str]) -> None:
    """FileNotFoundError if the annotations of these splits of a detector's config are not there."""
    found = {} if is_classifier(cfg) else splits_of(cfg)
    for ann_file in (found[name].ann_file for name in splits if name in found):
        if not ann_file.is_file():
            raise FileNotFoundError(f'{ann_file} is not there: link COCO to data/coco, or give your data by --data-root DIR.')

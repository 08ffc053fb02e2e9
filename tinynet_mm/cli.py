"""What the tools share: arguments, configs and models from names or paths, and errors as one sentence.

The tools are thin: they parse, call one thing of the library and say where the result lies. Anything a user may get wrong on the
command line is checked here, before long work starts.
"""

import argparse
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction
from rich.progress import track

from .data.check import check_config
from .data.coco import SPLITS, adopt, splits_of
from .data.folders import IMAGE_SUFFIXES, check_classes
from .errors import run  # noqa: F401 (tools that load MMLab anyway find it here)

SCHEDULES = {'short': Path(__file__).parent / 'schedules' / 'short.py'}


# Configs ----------------------------------------------------------------------------------------------------------------------


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, --data-root, --input-size, --cfg-options: what train, test and check_dataset have in common."""
    parser.add_argument('config', help='a config file, or a name like mmdet::ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    parser.add_argument('--data-root', type=Path, help='folder of any COCO-format data set; classes are read from its files')
    parser.add_argument('--input-size', type=int, help='side of the square input in pixels: resizing, anchors, strides together')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help='settings to change')


def load_config(name: str) -> Config:
    """A config by path or by ``package::name``; an unknown file is told with a near one."""
    if '::' in name:
        return _packaged_config(name)
    if not Path(name).is_file():
        raise FileNotFoundError(f'there is no config {name}{_near(name, _siblings(name))}')
    return Config.fromfile(name)


def _packaged_config(name: str) -> Config:
    """A config of an installed package, of its top folder too, which MMEngine's own reading refuses."""
    package, _, path = name.partition('::')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    root = Path(spec.origin).parent / '.mim' / 'configs' if spec and spec.origin else None
    if root is None or not root.is_dir():
        raise FileNotFoundError(f'{name}: no package {package} with configs is installed; install it, or name a config file.')
    if not (root / path).is_file():
        known = [str(p.relative_to(root)) for p in root.rglob('*.py') if '_base_' not in p.parts]
        raise FileNotFoundError(f'{package} has no config {path or "without a name"}{_near(path, known, f"{package}::")}')
    return Config.fromfile(root / path)


def _siblings(name: str) -> list[str]:
    folder = Path(name).parent
    return [str(folder / p.name) for p in folder.glob('*.py')] if folder.is_dir() else []


def _near(word: str, known: list[str], prefix: str = '') -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f'; did you mean {" or ".join(prefix + one for one in close)}?' if close else '.'


def check_option(cfg: Config, key: str) -> None:
    """A dotted key must lead to something there is; only a built object (a dict with ``type``) may get a new argument."""
    node: Any = cfg
    parts = key.split('.')
    for depth, part in enumerate(parts):
        if isinstance(node, list | tuple):
            if not part.isdigit() or int(part) >= len(node):
                raise ValueError(
                    f'--cfg-options {key}: {".".join(parts[:depth])} is a list of {len(node)}, {part!r} is no place in it.'
                )
            node = node[int(part)]
            continue
        known = list(node.keys()) if hasattr(node, 'keys') else []
        if part not in known:
            if depth == len(parts) - 1 and depth > 0 and 'type' in known:
                return
            where = '.'.join(parts[:depth]) or 'the config'
            raise ValueError(f'--cfg-options {key}: {where} has no {part!r}{_near(part, known)}')
        node = node[part]


def walk(node: Any) -> Iterator[ConfigDict]:
    """Every dict below a node of a config, outermost first."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from walk(child)


def set_input_size(cfg: Config, size: int) -> None:
    """Move the resizing of every pipeline and the head's anchors, with their strides, to ``size`` x ``size`` pixels."""
    head = cfg.model.get('bbox_head', {})
    if 'input_size' not in head:
        raise ValueError(
            f'--input-size works with our SSDLite configs; the head of this one, {head.get("type")}, has no input_size.'
        )
    if size < 32:
        raise ValueError(f'--input-size {size} is too small: at least 32 pixels, the stride of the backbone.')
    head.input_size = size
    for part in walk([cfg.get(f'{split}_dataloader') for split in SPLITS]):
        if part.get('type') == 'SSDWarp':
            part['size'] = size
        elif str(part.get('type')).endswith('Resize') and 'scale' in part:
            part['scale'] = (size, size)
    cfg.test_pipeline = cfg.test_dataloader.dataset.pipeline


def prepare(cfg: Config, data_root: Path | None = None, input_size: int | None = None, splits: Sequence[str] = SPLITS) -> Config:
    """Apply ``--data-root``, to the splits that will be read, and ``--input-size``."""
    if data_root is not None and is_classifier(cfg):
        adopt_folder(cfg, data_root)
    elif data_root is not None:
        for note in adopt(cfg, data_root, splits).notes:
            print(f'note: {note}', flush=True)
    if input_size is not None:
        set_input_size(cfg, input_size)
    return cfg


def is_classifier(cfg: Config) -> bool:
    return str(cfg.model.get('type')).split('.')[-1] == 'ImageClassifier'


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


def merge_options(cfg: Config, options: dict[str, Any]) -> Config:
    """Merge ``--cfg-options`` after the keys were found to exist."""
    for key in options:
        check_option(cfg, key)
    cfg.merge_from_dict(options)
    return cfg


def check_data(cfg: Config, splits: Sequence[str]) -> None:
    """Look at every file of a detector's splits before training; prints a report each, raises ValueError for what is fatal."""
    for report in check_config(cfg, splits, lambda steps, total: track(steps, 'looking at images', total, transient=True)):
        print(report, flush=True)
        report.stop_if_fatal()


def check_paths(cfg: Config, splits: Sequence[str]) -> None:
    """FileNotFoundError if the annotations of these splits of a detector's config are not there."""
    found = {} if is_classifier(cfg) else splits_of(cfg)
    for ann_file in (found[name].ann_file for name in splits if name in found):
        if not ann_file.is_file():
            raise FileNotFoundError(f'{ann_file} is not there: link COCO to data/coco, or give your data by --data-root DIR.')


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Image files, and those directly in folders, sorted; ValueError where a path holds none."""
    files = []
    for path in paths:
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise FileNotFoundError(f'{path}: no such image, or a folder without images ({", ".join(IMAGE_SUFFIXES)}).')
        files += found
    return files


def apply_schedule(cfg: Config, name: str) -> None:
    """Merge a schedule of ``tinynet_mm/schedules`` (literals only) over the config's own."""
    cfg.merge_from_dict(Config.fromfile(SCHEDULES[name]).to_dict())

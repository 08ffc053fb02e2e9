"""Configs: load by path or by name, walk their dicts, read the input size, and merge options of the user.

This module imports MMEngine only; :mod:`.editing` changes configs for a data set, an input size or a schedule.
"""

import argparse
import copy
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from ..errors import UserError, did_you_mean

SPLITS = ('train', 'val', 'test')
# the top-level entries of a config that MMEngine's Runner and the tools read; all others are variables of the config
READ = (
    'model', 'data_preprocessor', 'work_dir', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg',
    'test_cfg', 'auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator', 'default_hooks',
    'custom_hooks', 'load_from', 'resume', 'launcher', 'env_cfg', 'log_processor', 'log_level', 'visualizer', 'default_scope',
    'randomness', 'experiment_name', 'custom_imports', 'compile', 'tta_model', 'tta_pipeline',
)  # fmt: skip
SIZES = ('crop_size', 'size', 'scale')  # arguments of transforms that set the output size: int or (width, height)


def load_config(name: str) -> Config:
    """Load a config by its path or by ``package::name``.

    Raises:
        FileNotFoundError: no such config, with the nearest name.
        UserError: a config with a syntax error, a missing base or a wrong key.
    """
    if '::' in name:
        return _read(_packaged_path(name))
    if not Path(name).is_file():
        raise FileNotFoundError(f'{name}: no such config.{did_you_mean(name, _siblings(name))}')
    return _read(name)


def _read(path: str | Path) -> Config:
    try:
        return Config.fromfile(path)
    except FileNotFoundError as error:
        raise UserError(f'{path}: a base of this config is missing ({error}); correct _base_.') from error
    except (SyntaxError, KeyError, TypeError, AttributeError, OSError, ImportError) as error:
        raise UserError(f'{path} is not a config that MMEngine reads ({type(error).__name__}: {error}); correct it.') from error


def _packaged_path(name: str) -> Path:
    """The file of ``package::name``; the folder of the name, which MMEngine requires, is optional here."""
    package, _, path = name.partition('::')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    root = Path(spec.origin).parent / '.mim' / 'configs' if spec and spec.origin else None
    if root is None or not root.is_dir():
        raise FileNotFoundError(f'{name}: no package {package} with configs is installed; install it, or pass a config file.')
    if path and '/' not in path and len(found := list(root.glob(f'*/{path}'))) == 1:
        return found[0]
    if not (root / path).is_file():
        known = [f'{package}::{p.relative_to(root)}' for p in root.rglob('*.py') if '_base_' not in p.parts]
        raise FileNotFoundError(f'{package} has no config {path or "without a name"}.{did_you_mean(name, known)}')
    return root / path


def _siblings(name: str) -> list[str]:
    folder = Path(name).parent
    return [str(folder / p.name) for p in folder.glob('*.py')] if folder.is_dir() else []


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse the ``KEY=VALUE`` texts of ``--cfg-options`` by the rules of MMEngine's DictAction (lists, tuples, numbers)."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return parser.parse_args(['--cfg-options', *pairs]).cfg_options if pairs else {}


def check_option(cfg: Config, key: str) -> None:
    """Check that a dotted key names an entry of the config; only a dict with ``type`` accepts a new key.

    Raises:
        UserError: no such entry, with the nearest name.
    """
    node: Any = cfg
    parts = key.split('.')
    for depth, part in enumerate(parts):
        where = '.'.join(parts[:depth]) or 'the config'
        if isinstance(node, list | tuple):
            if not (part.isascii() and part.isdigit() and int(part) < len(node)):
                raise UserError(
                    f'--cfg-options {key}: {where} is a list of {len(node)}; give an index from 0 to {len(node) - 1}.'
                )
            node = node[int(part)]
            continue
        known = list(node.keys()) if hasattr(node, 'keys') else []
        if part not in known:
            if depth == len(parts) - 1 and depth > 0 and 'type' in known:
                return
            raise UserError(f'--cfg-options {key}: {where} has no {part!r}.{did_you_mean(part, known)}')
        node = node[part]


def merge_options(cfg: Config, options: dict[str, Any]) -> Config:
    """Merge ``--cfg-options`` into a config; every option takes effect or is refused.

    MMEngine does not read top-level variables such as ``train_pipeline`` or ``norm_cfg``; it copies them into other entries
    when it reads the config. A changed list or dict is copied again into every entry that equals its old value.

    Raises:
        UserError: no such key, or a variable without effect; the message names a key that works.
    """
    for key in options:
        check_option(cfg, key)
    read = {key: value for key, value in options.items() if key.split('.')[0] in READ}
    for key in options.keys() - read.keys():
        _merge_variable(cfg, key, options[key])
    cfg.merge_from_dict(read)
    return cfg


def _merge_variable(cfg: Config, key: str, value: Any) -> None:
    name = key.split('.')[0]
    before = copy.deepcopy(cfg[name])
    cfg.merge_from_dict({key: value})
    places = [place for part in cfg if part in READ for place in _places(cfg[part], before, part)]
    if not places:
        raise UserError(f'--cfg-options {key}: nothing reads {name}; set a key below {", ".join(k for k in READ if k in cfg)}.')
    if not isinstance(before, dict | list):
        raise UserError(f'--cfg-options {key}: nothing reads {name}; set {" or ".join(places[:3])} instead.')
    for place in places:
        *above, last = place.split('.')
        holder = cfg
        for part in above:
            holder = holder[int(part) if isinstance(holder, list) else part]
        holder[int(last) if isinstance(holder, list) else last] = copy.deepcopy(cfg[name])


def _places(node: Any, wanted: Any, key: str) -> Iterator[str]:
    """Yield the dotted keys of all entries below ``node`` that equal ``wanted``, outermost first."""
    if type(node) is type(wanted) and node == wanted:
        yield key
    elif isinstance(node, dict | list):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _places(value, wanted, f'{key}.{name}')


def walk(node: Any, skip: Sequence[str] = ()) -> Iterator[ConfigDict]:
    """Yield every dict below a node of a config, outermost first; entries named in ``skip`` are left out."""
    if isinstance(node, dict):
        yield node
        node = [value for name, value in node.items() if name not in skip]
    if isinstance(node, list | tuple):
        for child in node:
            yield from walk(child, skip)


def is_classifier(cfg: Config) -> bool:
    """Return whether the model of a config is mmpretrain's ImageClassifier."""
    return str(cfg.model.get('type')).split('.')[-1] == 'ImageClassifier'


# Input size -------------------------------------------------------------------------------------------------------------------


def output_size(transform: Mapping[str, Any]) -> tuple[str, tuple[int, int]] | None:
    """Return the argument of a transform that sets its output size, and that size as (height, width); None without one.

    Like mmcv's transforms, arguments with two values are (width, height).
    """
    for key in SIZES:
        size = transform.get(key)
        sides = (size, size) if isinstance(size, int) else size
        if isinstance(sides, list | tuple) and len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides):
            return key, (sides[1], sides[0])
    return None


def input_size(cfg: Config) -> tuple[int, int]:
    """Return the (height, width) in pixels of a model's input.

    That is the resolution of :class:`~tinynet_mm.data.memory.MemoryPreprocessor`, or else the last size in the test pipeline.
    For a resize that keeps the aspect ratio it is the largest size.

    Raises:
        UserError: neither of them has a size.
    """
    if side := (cfg.get('model', {}).get('data_preprocessor') or {}).get('resolution'):
        return side, side
    for split in ('test', 'val', 'train'):
        pipeline = (cfg.get(f'{split}_dataloader') or {}).get('dataset', {}).get('pipeline', [])
        for transform in reversed(pipeline):
            if found := output_size(transform):
                return found[1]
    raise UserError('the test pipeline of this config has no size; give one with --resolution N.')


def input_side(cfg: Config) -> int:
    """Return the side in pixels of a model's square input.

    Raises:
        UserError: no size, or a size that is not square.
    """
    height, width = input_size(cfg)
    if height != width:
        raise UserError(
            f'the input of this config has {height}x{width} pixels, not a square; set a square size in its test pipeline.'
        )
    return height

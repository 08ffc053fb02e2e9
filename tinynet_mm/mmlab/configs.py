"""Configs: load by path or by name, walk their dicts, read the input size, and merge options of the user.

This module imports MMEngine only; :mod:`.editing` changes configs for a data set, an input size or a schedule.
"""

import argparse
import ast
import copy
import difflib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from ..errors import UserError, did_you_mean
from . import registration
from .texts import literal

SPLITS = ('train', 'val', 'test')
# the top-level entries of a config that MMEngine's Runner and the tools read; all others are variables of the config
READ = (
    'model', 'data_preprocessor', 'work_dir', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg', 'val_cfg',
    'test_cfg', 'auto_scale_lr', 'optim_wrapper', 'param_scheduler', 'val_evaluator', 'test_evaluator', 'default_hooks',
    'custom_hooks', 'load_from', 'resume', 'launcher', 'env_cfg', 'log_processor', 'log_level', 'visualizer', 'default_scope',
    'randomness', 'experiment_name', 'custom_imports', 'compile',
)  # fmt: skip
SKIPPED_HEADS = ('backbone', 'rpn_head')  # parts of a model whose num_classes is not the number of classes of the data
SIZES = ('crop_size', 'size', 'scale')  # arguments of transforms that set the output size: int or (width, height)


def load_config(name: str) -> Config:
    """Load a config by its path, by the name of one of ours, as ``ssdlite_tinynet_d_coco``, or by ``package::name``.

    ``configs/ssdlite_tinynet_d_coco.py`` is also found in a folder that has no such file.

    Raises:
        FileNotFoundError: no such config, with the nearest name.
        UserError: a config that MMEngine cannot read, or without a model.
    """
    if '::' in name:
        return read_config(_packaged_path(name))
    if not Path(name).is_file():
        return read_config(_shipped_path(name))
    return read_config(name)


def read_config(path: str | Path, import_modules: bool = True) -> Config:
    """Read a config file with a model; ``import_modules`` imports its ``custom_imports``.

    Raises:
        UserError: a file that MMEngine cannot read, or without a model.
    """
    try:
        _check_bases(Path(path).resolve())
        cfg = Config.fromfile(path, import_custom_modules=import_modules)
    except FileNotFoundError as error:
        raise UserError(f'{path}: a base of this config is missing ({error}); correct _base_.') from error
    except UserError:
        raise
    except Exception as error:  # a config is a program, which can raise anything
        reason = str(error).partition(', the current sys.path')[0]
        raise UserError(f'{path} is not a config that MMEngine reads ({type(error).__name__}: {reason}); correct it.') from error
    if not isinstance(cfg.get('model'), dict):
        raise UserError(f'{path} has no model (a dict); give the config of a training, for instance one in configs/.')
    return cfg


def _check_bases(path: Path, users: tuple[Path, ...] = ()) -> None:
    """Raise UserError if a config is one of its own bases, with which MMEngine recurses for ten seconds."""
    if path in users:
        raise UserError(f'{path} is a base of itself, through {users[-1]}; correct _base_.')
    for base in Config._get_base_files(str(path)):
        _check_bases(Path(Config._get_cfg_path(base, str(path))[0]).resolve(), (*users, path))


def _packaged_path(name: str) -> Path:
    """The file of ``package::name``; the folder of the name, which MMEngine requires, is optional here."""
    package, _, path = name.partition('::')
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    root = Path(spec.origin).parent / '.mim' / 'configs' if spec and spec.origin else None
    if root is None or not root.is_dir():
        raise FileNotFoundError(f'{name}: no package {package} with configs is installed; install it, or pass a config file.')
    if not path:
        raise FileNotFoundError(f'{name}: no config is named; give {package}::FILE.py.')
    if '/' not in path and len(found := list(root.glob(f'*/{path}'))) == 1:
        return found[0]
    if not (root / path).is_file():
        known = [f'{package}::{p.relative_to(root)}' for p in root.rglob('*.py') if '_base_' not in p.parts]
        raise FileNotFoundError(f'{package} has no config {path}.{did_you_mean(name, known)}')
    return root / path


def config_name(config: str) -> str:
    """The name of a config without folder and ``.py``; ``Path.stem`` cuts ``efficientnet_b0_r0.46_in100`` at its point."""
    return Path(config).name.removesuffix('.py')


def _shipped_path(name: str) -> Path:
    """The file of one of our configs, by its name or by its path in a checkout."""
    path, known = Path(name), registration.shipped_configs()
    if path.parts[:1] in ((path.name,), ('configs',)) and config_name(name) in known:
        return known[config_name(name)]
    siblings = [str(path.parent / p.name) for p in path.parent.glob('*.py')] if path.parent.is_dir() else []
    hint = did_you_mean(name, [*siblings, *known]) or ' Give a file, or a name such as rtmdet_tinynet_e_coco.'
    raise FileNotFoundError(f'{name or "an empty name"}: no such config.{hint}')


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse the ``KEY=VALUE`` texts of ``--cfg-options``.

    Numbers, lists and tuples follow the rules of MMEngine's DictAction; ``dict(...)`` and ``{...}`` are dicts.

    Raises:
        UserError: a value with brackets or commas that is none of these.
    """
    return {key: _value(key, text) for key, _, text in (pair.partition('=') for pair in pairs)}


def _value(key: str, text: str) -> Any:
    try:
        if text.startswith(('dict(', '{')):
            return literal(ast.parse(text, mode='eval').body)
        if not set(text) & set(',[]()'):  # DictAction removes the spaces of a path
            return DictAction._parse_int_float_bool(text.strip('\'"'))
        parser = argparse.ArgumentParser()
        parser.add_argument('--option', nargs=1, action=DictAction)
        return parser.parse_args([f'--option={key}={text}']).option[key]
    except (
        ValueError,
        TypeError,
        SyntaxError,
        AssertionError,
        RecursionError,
    ) as error:  # DictAction asserts, and recurses without end
        raise UserError(f'--cfg-options {key}={text}: the value is no number, text, list, tuple or dict; correct it.') from error


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
            if not node:
                raise UserError(f'--cfg-options {key}: {where} is an empty list; set the complete list.')
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
            raise UserError(f'--cfg-options {key}: {where} has no {part!r}.{did_you_mean(part, known, cutoff=0.6)}')
        node = node[part]


def merge_options(cfg: Config, options: dict[str, Any], unused: Mapping[str, str] | None = None) -> Config:
    """Merge ``--cfg-options`` into a config; every option takes effect or is refused.

    MMEngine does not read top-level variables such as ``train_pipeline`` or ``norm_cfg``; it copies them into other entries
    when it reads the config. A changed list or dict is copied again into every entry that equals its old value.

    Args:
        cfg: the config, which is changed.
        options: values by dotted key, from :func:`parse_options`.
        unused: top-level entries that the calling tool overwrites or does not read, and what to do instead.

    Raises:
        UserError: no such key, an unused one, or a variable without effect; the message names a key that works.
    """
    unused = unused or {}
    for key in options:
        if advice := unused.get(key.split('.')[0]):
            raise UserError(f'--cfg-options {key} has no effect here; {advice}.')
        check_option(cfg, key)
    read = [name for name in READ if name not in unused]
    for key, value in sorted(options.items(), key=lambda option: option[0].split('.')[0] in READ):  # variables first
        if key.split('.')[0] in READ:
            _set(cfg, key, value)
        else:
            _merge_variable(cfg, key, value, read)
    return cfg


def _set(cfg: Config, key: str, value: Any) -> None:
    """Set the entry of a dotted key that :func:`check_option` accepts, also in lists and tuples, which MMEngine cannot."""
    name, *parts = key.split('.')
    cfg[name] = _changed(cfg.get(name), parts, value, key)


def _changed(node: Any, parts: Sequence[str], value: Any, key: str) -> Any:
    """Return a copy of a node of a config with one entry below it changed.

    Raises:
        UserError: a single value for a dict, or for a list of dicts.
    """
    if not parts:
        whole = isinstance(node, dict) or (isinstance(node, list) and any(isinstance(item, dict) for item in node))
        if whole and not isinstance(value, dict | list | tuple | None):
            raise UserError(f'--cfg-options {key}={value}: this entry is a {_kind(node)}; set a key below it, or None.')
        return copy.deepcopy(value)
    first, *rest = parts
    if isinstance(node, list | tuple):
        items = list(node)
        items[int(first)] = _changed(items[int(first)], rest, value, key)
        return type(node)(items)
    return type(node)(node, **{first: _changed(node.get(first), rest, value, key)})


def _kind(node: dict | list) -> str:
    return f'dict with the keys {", ".join(map(str, node))}' if isinstance(node, dict) else f'list of {len(node)} dicts'


def _merge_variable(cfg: Config, key: str, value: Any, read: Sequence[str]) -> None:
    name = key.split('.')[0]
    before = copy.deepcopy(cfg[name])
    found = [place for part in cfg if part in read for place in _places(cfg[part], before, part)]
    several = isinstance(before, dict | list | tuple) and len(before) > 1
    places = found if several else [place for place in found if _is_similar(name, place.split('.')[-1])]
    if not places:
        raise UserError(f'--cfg-options {key}: nothing reads {name}; set a key below {", ".join(k for k in read if k in cfg)}.')
    if not isinstance(before, dict | list):
        raise UserError(f'--cfg-options {key}: nothing reads {name}; set {" or ".join(places[:3])} instead.')
    _set(cfg, key, value)
    for place in places:
        _set(cfg, place, cfg[name])


def _is_similar(variable: str, last: str) -> bool:
    """Whether the last part of a key has about the name of a variable; equal numbers alone are often a coincidence."""
    return variable.endswith(f'_{last}') or difflib.SequenceMatcher(None, variable, last).ratio() >= 0.6


def _places(node: Any, wanted: Any, key: str) -> Iterator[str]:
    """Yield the dotted keys of all entries below ``node`` that equal ``wanted``, outermost first."""
    if type(node) is type(wanted) and node == wanted:
        yield key
    elif isinstance(node, dict | list | tuple):
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


def set_classes(model: Any, classes: int) -> None:
    """Set the number of classes of all heads of a model's config; a region proposal head keeps its one class."""
    for part in walk(model, skip=SKIPPED_HEADS):
        if 'num_classes' in part:
            part['num_classes'] = classes


def check_text(node: Any, where: str) -> None:
    """Check that no text of a config, or of a part of one, is code for MMEngine, which evaluates ``{{...}}`` in a config file.

    A training writes its config into the work directory, with paths and names that come from data sets and command lines.

    Raises:
        UserError: such a text; ``where`` names it, and the keys below it follow.
    """
    if isinstance(node, str) and '{{' in node:
        raise UserError(f'{where}: {node[:100]!r} contains "{{{{", which MMEngine evaluates in a config; rename it.')
    if isinstance(node, dict | Config):
        check_text(list(node.keys()), where)
        for name, value in node.items():
            check_text(value, f'{where}.{name}')
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            check_text(value, f'{where}[{index}]')


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
    raise UserError(
        'the test pipeline of this config has no size; set one in its test pipeline, or, for `tinynet cost`, give --resolution N.'
    )


def test_pipeline(cfg: Config) -> list[ConfigDict]:
    """Return the transforms of the test pipeline.

    Raises:
        UserError: the config has none.
    """
    dataset = (cfg.get('test_dataloader') or {}).get('dataset', {})
    while 'pipeline' not in dataset and 'dataset' in dataset:  # a wrapper
        dataset = dataset['dataset']
    if not dataset.get('pipeline'):
        raise UserError('the config has no test_dataloader with a pipeline: give a config with one.')
    return list(dataset['pipeline'])


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

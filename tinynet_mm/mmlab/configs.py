"""Configs: load by path or by name, walk their dicts, and merge options that the user gives.

This module imports MMEngine only; :mod:`.editing` changes configs for a data set, an input size or a schedule.
"""

import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ..errors import UserError

SPLITS = ('train', 'val', 'test')


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
                raise UserError(
                    f'--cfg-options {key}: {".".join(parts[:depth])} is a list of {len(node)}, {part!r} is no place in it.'
                )
            node = node[int(part)]
            continue
        known = list(node.keys()) if hasattr(node, 'keys') else []
        if part not in known:
            if depth == len(parts) - 1 and depth > 0 and 'type' in known:
                return
            where = '.'.join(parts[:depth]) or 'the config'
            raise UserError(f'--cfg-options {key}: {where} has no {part!r}{_near(part, known)}')
        node = node[part]


def merge_options(cfg: Config, options: dict[str, Any]) -> Config:
    """Merge ``--cfg-options`` after the keys were found to exist."""
    for key in options:
        check_option(cfg, key)
    cfg.merge_from_dict(options)
    return cfg


def walk(node: Any, skip: Sequence[str] = ()) -> Iterator[ConfigDict]:
    """Every dict below a node of a config, outermost first; entries named in ``skip`` are not entered."""
    if isinstance(node, dict):
        yield node
        node = [value for name, value in node.items() if name not in skip]
    if isinstance(node, list | tuple):
        for child in node:
            yield from walk(child, skip)


def is_classifier(cfg: Config) -> bool:
    return str(cfg.model.get('type')).split('.')[-1] == 'ImageClassifier'

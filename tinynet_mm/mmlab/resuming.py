"""Continue a training: find its last complete checkpoint, and say which settings changed since.

A checkpoint holds its config as the text of a Python file. The text is not run: only literals and ``dict(...)`` are read.
"""

import ast
import logging
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import UserError, listed
from ..files import read_json, write_json
from .reading import read
from .texts import literal

LOGGER = logging.getLogger(__name__)
# settings that say where and how a training runs, not what is trained
PLACES = ('work_dir', 'resume', 'load_from', 'launcher', 'log_level', 'visualizer', 'vis_backends', 'data_root', 'filename')
MISSING = 'not set'
EARLIER = 'earlier.json'  # in a work directory: the checkpoints that were there when its training started
BACKBONE_LR = 'optim_wrapper.paramwise_cfg.backbone_lr'


def set_resume(cfg: Config, source: str, note: Callable[[str], object]) -> None:
    """Continue a training from a checkpoint.

    Args:
        cfg: the config, which is changed.
        source: the checkpoint; ``auto`` is the latest complete one in the work directory.
        note: receives a sentence if the work directory has no checkpoint, if the latest one is broken, or if settings changed.

    Raises:
        UserError: ``source`` is not a checkpoint.
    """
    path = latest_checkpoint(cfg.work_dir, note) if source == 'auto' else Path(source)
    if path is None:
        note(f'no checkpoint in {cfg.work_dir}: training starts at the beginning.')
        return
    meta = read(path).get('meta')
    if isinstance(meta, Mapping):
        groups = cfg.get('optim_wrapper', {}).get('paramwise_cfg') or {}
        if 'backbone_lr' in groups:  # that of the saved optimizer; whether the backbone was pretrained is not known any more
            groups['backbone_lr'] = dict(flat(settings_of(str(meta.get('cfg', ''))))).get(BACKBONE_LR)
        if text := note_of(meta, cfg.pretty_text):
            note(text)
    cfg.resume, cfg.load_from = True, str(path)


def latest_checkpoint(folder: str | Path, note: Callable[[str], object] = LOGGER.warning) -> Path | None:
    """The last complete checkpoint of a training: the one that ``last_checkpoint`` names, or else the one written last.

    MMEngine's ``find_latest_checkpoint`` reads ``last_checkpoint`` alone, which is empty after some kills, and names a file
    that is not there after a move.

    Args:
        folder: the work directory.
        note: receives a sentence for each checkpoint that is broken.
    """
    folder, named = Path(folder), Path(folder) / 'last_checkpoint'
    name = Path(named.read_text().strip()).name if named.is_file() else ''
    found, earlier = _checkpoints(folder), _read_earlier(folder)
    saved = [path for path in found if _mark(path) not in earlier]
    if len(saved) < len(found):
        number = len(found) - len(saved)
        note(f'{number} checkpoints in {folder} are of an earlier training and are not used; --resume FILE uses one.')
    for path in sorted(saved, key=lambda path: (path.name == name, path.stat().st_mtime_ns, _number(path)), reverse=True):
        if zipfile.is_zipfile(path):
            return path
        note(f'{path} is broken, and the checkpoint before it is used.')
    return None


def mark_start(folder: str | Path) -> None:
    """Remember the checkpoints of earlier trainings in a work directory: ``--resume`` of the next one leaves them out."""
    path, found = Path(folder) / EARLIER, [_mark(path) for path in _checkpoints(Path(folder))]
    if found or path.exists():
        write_json(path, found)


def _checkpoints(folder: Path) -> list[Path]:
    return [path for path in folder.glob('*.pth') if re.fullmatch(r'(epoch|iter)_\d+|interrupted', path.stem)]


def _mark(path: Path) -> list:
    """What identifies a checkpoint among those of the same name; a copy has other times."""
    return [path.name, path.stat().st_size, path.stat().st_mtime_ns]


def _read_earlier(folder: Path) -> list:
    try:
        found = read_json(folder / EARLIER)
    except (FileNotFoundError, UserError):
        return []
    return found if isinstance(found, list) else []


def _number(path: Path) -> int:
    return int(path.stem.partition('_')[2] or 0)


def settings_of(text: str) -> dict[str, Any]:
    """The settings in the text of a config; a value that is no literal is left out. Empty for a text that is not Python."""
    found: dict[str, Any] = {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return found
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = literal(node.value)
            except (ValueError, TypeError, SyntaxError, RecursionError):
                continue
    return found


def flat(settings: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Each single value with its dotted name, as ``--cfg-options`` takes it."""
    if isinstance(settings, Mapping | list | tuple) and settings:
        parts = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
        for key, value in parts:
            yield from flat(value, f'{name}.{key}' if name else str(key))
    else:
        yield name, [] if settings == () else settings


def changes(before: str, after: str) -> list[str]:
    """One phrase for each setting that differs between the texts of two configs: ``optimizer.lr 0.002 -> 0.001``."""
    old, new = (dict(flat({k: v for k, v in settings_of(text).items() if k not in PLACES})) for text in (before, after))
    names = [name for name in {**old, **new} if not set(name.split('.')) & set(PLACES)]
    return [f'{n} {old.get(n, MISSING)} -> {new.get(n, MISSING)}' for n in names if old.get(n, MISSING) != new.get(n, MISSING)]


def note_of(meta: Mapping[str, Any], after: str) -> str | None:
    """One sentence on the settings that changed since a checkpoint; None if it has no config, or nothing changed."""
    found = changes(str(meta['cfg']), after) if settings_of(str(meta.get('cfg', ''))) else []
    if not found:
        return None
    return f'the config is another than that of the checkpoint (epoch {meta.get("epoch")}): {listed(found, 8, "; ")}.'

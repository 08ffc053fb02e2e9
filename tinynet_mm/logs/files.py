"""Find the log files of a run, and read their lines."""

import ast
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern

from ..errors import UserError
from ..files import LONGEST

COUNTERS = ('iter', 'epoch', 'step')
_LARGEST = 10**15  # of a counter
_TIMESTAMP = re.compile(r'\d{8}_\d{6}')
_FOREIGN = ('events.out.tfevents*', '*.log.json', 'metrics.csv', 'trainer_state.json', 'results.csv', '*.wandb')


@dataclass(frozen=True)
class Session:
    """One start of a training: its lines in order, and ``train_cfg`` of the config next to the log (empty if missing)."""

    lines: list[dict]
    loop: dict

    @property
    def trained(self) -> list[dict]:
        """The training lines."""
        return [line for line in self.lines if 'iter' in line]


def _files(folder: Path) -> list[Path]:
    """Return the logs of one vis_data folder: scalars.json, or the files named by timestamp if it is missing."""
    scalars = folder / 'scalars.json'
    return [scalars] if scalars.is_file() else sorted(path for path in folder.glob('*.json') if path.is_file())


def _work_dir(folder: Path) -> Path:
    """Return the work directory of a vis_data folder."""
    start = folder.resolve().parent
    return start.parent if _TIMESTAMP.fullmatch(start.name) else start


def search(path: str | Path) -> dict[Path, list[Path]]:
    """Return log files in order of time, by work directory; empty if there is no log yet.

    Args:
        path: a log, a work directory, or a folder with several work directories.

    Raises:
        FileNotFoundError: the path does not exist.
    """
    path = Path(path)
    if path.is_file():
        return {_work_dir(path.parent) if path.parent.name == 'vis_data' else path: [path]}
    if not path.is_dir():
        raise FileNotFoundError(f'{path}: no such work directory or log.')
    found: dict[Path, list[Path]] = {}
    for folder in sorted([path] if path.name == 'vis_data' else path.rglob('vis_data')):
        found.setdefault(_work_dir(folder), []).extend(_files(folder))
    return {work_dir: files for work_dir, files in found.items() if files}


def find(path: str | Path) -> dict[Path, list[Path]]:
    """Return log files as :func:`search` does, but at least one.

    Raises:
        UserError: there is no log; the message names a log of another tool, if the folder has one.
        FileNotFoundError: the path does not exist.
    """
    found = search(path)
    if not found:
        foreign = sorted(file.name for pattern in _FOREIGN for file in Path(path).rglob(pattern))
        other = f' ({foreign[0]} is the log of another tool)' if foreign else ''
        raise UserError(f'{path}: no training log of MMEngine (*/vis_data/scalars.json) in this folder{other}.')
    return found


def _object(text: str) -> dict | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_valid(line: dict) -> bool:
    """Whether a line has a ``step``, all of its counters are numbers, and its keys can be drawn."""
    counters = [line[key] for key in COUNTERS if key in line]
    numbers = all(type(value) in (int, float) and abs(value) <= _LARGEST for value in counters)
    return 'step' in line and numbers and all(len(key) <= LONGEST for key in line)


def _parse(file: Path) -> tuple[list[dict], list[str]]:
    """Return the lines of one file, and notes on lines that a killed training wrote incompletely."""
    lines, notes, broken = [], [], []
    texts = file.read_text(encoding='utf-8', errors='replace').splitlines()
    for number, text in enumerate(texts, 1):
        line = _object(text)
        if line is not None and _is_valid(line):
            lines.append({intern(key): value for key, value in line.items()})  # one text for the same key of all lines
        elif text.strip():
            broken.append(number)
    incomplete_first_line = len(texts) == 1 and texts[0].startswith('{"') and _object(texts[0]) is None
    if broken and not lines and not incomplete_first_line:
        fix = f'; {scalars} has the numbers' if (scalars := file.parent / 'vis_data' / 'scalars.json').is_file() else ''
        raise UserError(f'{file}: not a log of MMEngine, which has one JSON object with a "step" on each line{fix}.')
    if broken:
        last = 'the last line is incomplete' if broken == [len(texts)] else f'line {", ".join(map(str, broken))} cannot be read'
        notes.append(f'{file}: {last} and is left out (the training was killed while it wrote the log).')
    return lines, notes


def _train_cfg(file: Path) -> dict:
    """Return the lengths and intervals of ``train_cfg`` in the config next to the log; empty if it is missing."""
    config = file.with_name('config.py')
    if not config.is_file():
        return {}
    try:
        tree = ast.parse(config.read_text(encoding='utf-8', errors='replace'))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the training was killed while it wrote the file
        return {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'train_cfg' and isinstance(node.value, ast.Call):
            found = {item.arg: item.value.value for item in node.value.keywords if isinstance(item.value, ast.Constant)}
            return {name: value for name, value in found.items() if type(value) is int and 0 < value <= _LARGEST}
    return {}


def read_sessions(file: Path) -> tuple[list[Session], list[str]]:
    """Return the sessions of a file, and notes. A restart in the same second or process appends to the same file."""
    lines, notes = _parse(file)
    sessions, last = [Session([], _train_cfg(file))], -1
    for line in lines:
        if 'iter' in line:
            if line['iter'] <= last:
                sessions.append(replace(sessions[0], lines=[]))
            last = line['iter']
        sessions[-1].lines.append(line)
    return sessions, notes

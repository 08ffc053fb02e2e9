"""Atomic writes, CSV and JSON files, and the name of the machine.

A file appears under its name only when it is complete: it is written under a temporary name with the process id in the same
folder, then renamed. This module imports only the standard library.
"""

import csv
import gc
import io
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError, printable

INTEGER = re.compile(r'[+-]?[0-9]{1,50}')  # longer ones are floats: Python does not read more than 4300 digits
LONGEST = 200  # characters of a name that is drawn, for instance that of a class
DECIMAL = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|[+-]?inf', re.IGNORECASE)


@contextmanager
def atomic(path: str | Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``, and rename it to ``path`` at the end of the context.

    The temporary name keeps the suffix, since some writers choose their format by it. After an error the temporary file is
    removed.

    Args:
        path: the file to write; missing folders are created.
        durable: flush the file to the disk before the rename, for results that took hours to compute.

    Raises:
        UserError: the folder or the file cannot be written, the disk is full, or the path is a device or a pipe.
    """
    path = Path(path)
    temporary = path.with_name(f'.{path.stem[:180]}.{os.getpid()}.part{path.suffix}')
    try:
        _check_no_device(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path), *map(str, path.parents)):
            raise  # the error of another file, which the caller reads inside the context
        raise UserError(f'cannot write {path}: {error.strerror or error}; choose another path, or free disk space.') from error
    finally:
        _remove(temporary)


def _check_no_device(path: Path) -> None:
    """Raise UserError for a device, a pipe or a socket, which a rename would remove."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f'cannot write {path}: it is a device, pipe or socket, not a file; choose another path.')


def check_writable(path: str | Path) -> None:
    """Check before long work that a file can be written; nothing is created.

    Raises:
        UserError: the path is a folder, a device or a pipe, or is below a file or in a folder that cannot be written.
    """
    path = Path(path)
    _check_no_device(path)
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        reason = 'it is a folder' if path.is_dir() else f'{above} is not a folder that can be written'
        raise UserError(f'cannot write {path}: {reason}; choose another path.')


def check_not_inputs(outputs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Check before the work that no output replaces a file that it is made from.

    Raises:
        UserError: a path is that of an input, also through a link.
    """
    known = {(found.st_dev, found.st_ino) for found in (os.stat(path) for path in inputs if os.path.exists(path))}
    for path in outputs:
        if os.path.exists(path) and ((found := os.stat(path)).st_dev, found.st_ino) in known:
            raise UserError(f'cannot write {path}: it is also an input, and would be replaced; choose another --out.')


@contextmanager
def results_folder(path: str | Path) -> Iterator[Path]:
    """Create a folder for the results of the context; at its end, the new folders without a file are removed.

    Raises:
        UserError: as :func:`make_folder`.
    """
    path = Path(path)
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        yield make_folder(path)
    finally:
        for folder in new:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def make_folder(path: str | Path) -> Path:
    """Create a folder and those above it, if they are missing; returns the path.

    Raises:
        UserError: there is a file of this name, or the folder cannot be written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'cannot write the folder {path}: {error.strerror or error}; choose another path.') from error
    return Path(path)


def _flush(path: Path) -> None:
    with path.open('rb') as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.exists():
        path.unlink()


def write_bytes(path: str | Path, data: bytes, durable: bool = False) -> Path:
    """Write bytes atomically; returns the path. Raises as :func:`atomic`."""
    with atomic(path, durable) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | Path, text: str, durable: bool = False) -> Path:
    """Write UTF-8 text atomically, with unchanged line ends, see :func:`~.errors.printable`. Raises as :func:`atomic`."""
    return write_bytes(path, printable(text).encode(), durable)


def write_json(path: str | Path, content: object, indent: int | None = 2, durable: bool = False) -> Path:
    """Write JSON atomically with a line end; returns the path. Raises as :func:`atomic`."""
    return write_text(path, json.dumps(content, indent=indent) + '\n', durable)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause Python's garbage collector: it searches the millions of objects of a large JSON file again and again.

    The index of annotations of COCO's size takes 0.6 of the CPU time while collection is paused (``tools/benchmark_large.py``).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def read_json(path: str | Path) -> Any:
    """Read JSON in UTF-8 or UTF-16, with or without a byte order mark.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the file is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file; check the path.')
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is not JSON ({error}); write the file again.') from error


def check_names(names: object, path: str | Path) -> tuple[str, ...]:
    """Names that a file contains, for instance of classes, as a tuple; a text is one name.

    Raises:
        UserError: no list of texts, a name of over 200 characters, which takes minutes to draw, or one that MMEngine evaluates.
    """
    names = [names] if isinstance(names, str) else names
    if not (isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)):
        raise UserError(f'{path}: the class names are not a list of texts; write the file again.')
    if long := next((name for name in names if len(name) > LONGEST), None):
        raise UserError(f'{path}: the name {long[:30]}... has over {LONGEST} characters; shorten it.')
    if evaluated := next((name for name in names if '{{' in name), None):
        raise UserError(f'{path}: the name {evaluated!r} contains "{{{{", which MMEngine evaluates in a config; rename it.')
    return tuple(names)


def csv_text(rows: Iterable[Mapping], columns: Sequence[str] | None = None) -> str:
    """Rows as CSV text with a header and Unix line ends; ``columns`` are the keys of the first row by default."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns or rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: str | Path, rows: Iterable[Mapping], columns: Sequence[str] | None = None) -> Path:
    """Write rows with equal keys as CSV atomically; returns the path. Raises as :func:`atomic`."""
    return write_text(path, csv_text(rows, columns))


def read_csv(path: str | Path, needed: Sequence[str] = ()) -> list[dict]:
    """Read the rows of a CSV file: integers as int, other numbers as float, the rest as text.

    Args:
        path: the file.
        needed: columns that hold a finite number in every row.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the file is not UTF-8 or has no rows, a needed column is missing, or a line is incomplete or holds no finite
            number in a needed column; the message names the first bad line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such table; check the path.')
    try:
        text = path.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not text in UTF-8 ({error.reason}); pass a CSV file.') from error
    if not text.endswith('\n'):
        raise UserError(f'{path}: the last line has no line end, the file is truncated; write it again, or delete that line.')
    reader = csv.DictReader(io.StringIO(text, newline=''))
    try:
        if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
            raise UserError(f'{path} has no column {missing[0]!r}; it needs {", ".join(needed)}.')
        rows = [_row(record, f'{path}, line {reader.line_num}', needed) for record in reader]
    except csv.Error as error:
        raise UserError(f'{path}, line {reader.line_num + 1} is not CSV ({error}); write the file again.') from error
    if not rows:
        raise UserError(f'{path} has no rows.')
    return rows


def _row(record: dict, where: str, needed: Sequence[str]) -> dict:
    """One row with its numbers parsed; ``where`` names the file and the line in errors."""
    if None in record or None in record.values():
        raise UserError(f'{where} is incomplete, the file is truncated; write it again, or delete that line.')
    values = {name: _parse(text) for name, text in record.items()}
    for name in needed:
        value = values[name]
        if isinstance(value, str) or not math.isfinite(value):
            raise UserError(f'{where}: {name} is {record[name]!r}, not a finite number; measure it again, or delete the line.')
    return values


def to_number(value: object) -> float:
    """A value as a float; NaN if it is not a number."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _parse(text: str) -> int | float | str:
    number = text.strip()
    if INTEGER.fullmatch(number):
        return int(number)
    return float(number) if DECIMAL.fullmatch(number) else text


def machine_load() -> float:
    """The load of the machine in the last minute; 0 on systems that have no such number."""
    return os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0


def machine_name() -> str:
    """The processor's model and the number of its cores, for instance ``AMD EPYC 7B13, 2 cores``."""
    cpuinfo = Path('/proc/cpuinfo')
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    models = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    model = models[0] if models else platform.processor() or platform.machine()
    return f'{model}, {os.cpu_count()} cores'

"""Tables of networks as CSV: read with every value checked, written whole or not at all."""

import csv
import math
import os
import re
from pathlib import Path

WHOLE = re.compile(r'[+-]?\d+')
DECIMAL = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf', re.IGNORECASE)


def read_rows(path: str | Path, needed: tuple[str, ...] = ()) -> list[dict]:
    """Rows of a CSV file; whole numbers as int, other numbers as float, the rest as text.

    The ``needed`` columns must be finite numbers in every row. A ValueError names the first line that is not whole.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no such table: {path}')
    text = path.read_text()
    if not text.endswith('\n'):
        raise ValueError(f'{path}: the last line has no end, so the file seems cut off; write it again, or delete that line.')
    with path.open(newline='') as file:
        reader = csv.DictReader(file)
        if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
            raise ValueError(f'{path} has no column {missing[0]!r}; it needs {", ".join(needed)}.')
        rows = [_row(record, f'{path}, line {reader.line_num}', needed) for record in reader]
    if not rows:
        raise ValueError(f'{path} has no rows.')
    return rows


def write_rows(path: str | Path, rows: list[dict]) -> Path:
    """Write rows of equal keys; the file appears under its name only when it is complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    with partial.open('w', newline='') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
    return path


def column(rows: list[dict], name: str) -> list[float]:
    """One column as finite numbers, or a ValueError which says how many rows lack it."""
    values = [_number(row.get(name)) for row in rows]
    if not values:
        raise ValueError('there are no networks in this table.')
    if all(row.get(name) is None for row in rows):
        raise ValueError(f'this table of {len(rows)} networks has no column {name!r}, which is needed.')
    if bad := [i for i, value in enumerate(values) if not math.isfinite(value)]:
        raise ValueError(f'{len(bad)} of {len(rows)} rows have no finite {name!r} (first: row {bad[0] + 1}); drop them.')
    return values


def _row(record: dict, where: str, needed: tuple[str, ...]) -> dict:
    if None in record or None in record.values():
        raise ValueError(f'{where} is not whole: the file seems cut off; write it again, or delete that line.')
    for name in needed:
        if not math.isfinite(_number(record[name])):
            raise ValueError(f'{where}: {name} is {record[name]!r}, not a finite number; repeat it, or delete the line.')
    return {name: _parse(text) for name, text in record.items()}


def _number(value) -> float:
    """NaN for whatever is no number; the callers refuse it by name."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _parse(text: str) -> int | float | str:
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if DECIMAL.fullmatch(text) else text

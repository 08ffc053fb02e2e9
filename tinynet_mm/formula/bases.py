"""The network that is shrunk: one of ours by name, or a user's own table in a JSON file."""

import json
from pathlib import Path

from ..archs import BASES, Arch
from ..errors import UserError

TEXTS = ('name', 'family', 'block', 'stages', 'activation')  # entries of a table that are not numbers


def load_base(base: Arch | str) -> Arch:
    """A base by name ('efficientnet_b0', 'resnet50', 'ghostnet_a', ...) or by the path of a JSON file.

    The file holds what ``dataclasses.asdict`` makes of an :class:`~tinynet_mm.archs.Arch`.
    """
    if isinstance(base, Arch):
        return base
    if base in BASES:
        return BASES[base]
    if not base.endswith('.json'):
        raise UserError(f'unknown base {base!r}; known: {", ".join(BASES)}, or a table of your own as a .json file.')
    path = Path(base)
    if not path.is_file():
        raise FileNotFoundError(f'there is no base table {path}')
    try:
        table = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f'{path} is not JSON ({error}); write the table again.') from None
    if not isinstance(table, dict):
        raise UserError(f'{path} is not a base table but a {type(table).__name__}; it needs a JSON object.')
    if wrong := _wrong_numbers(table):
        raise UserError(f'{path}: {wrong} is not a number of 0 or more; correct the table.')
    return Arch.from_dict(table)


def _wrong_numbers(table: dict) -> str | None:
    """The first entry that holds no number, or one below zero, as ``key = value``; what else is wrong, Arch says."""
    stages = table.get('stages')
    for part in (table, *(stages if isinstance(stages, list) else ())):
        for key, value in part.items() if isinstance(part, dict) else ():
            if key not in ('name', 'family', 'block', 'stages', 'activation') and not (
                isinstance(value, int | float) and value >= 0
            ):
                return f'{key} = {value!r}'
    return None

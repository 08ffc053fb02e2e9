"""The network that is shrunk: one of ours by name, or a user's own table in a JSON file."""

from ..archs import BASES, Arch
from ..errors import UserError, did_you_mean
from ..files import read_json

TEXTS = ('name', 'family', 'block', 'stages', 'activation')  # entries of a table that are not numbers


def load_base(base: Arch | str) -> Arch:
    """A base by name ('efficientnet_b0', 'resnet50', 'ghostnet_a', ...) or by the path of a JSON file.

    The file holds the output of ``dataclasses.asdict`` for an :class:`~tinynet_mm.archs.Arch`.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the name is unknown, or the file is not a valid table.
    """
    if isinstance(base, Arch):
        return base
    if base in BASES:
        return BASES[base]
    if not base.endswith('.json'):
        hint = did_you_mean(base, BASES)
        raise UserError(f'unknown base {base!r}.{hint} Known: {", ".join(BASES)}, or the path of a .json file with a base table.')
    table = read_json(base)
    if not isinstance(table, dict):
        raise UserError(f'{base} is not a base table but a {type(table).__name__}; it needs a JSON object.')
    if wrong := _wrong_numbers(table):
        raise UserError(f'{base}: {wrong} is not a number of 0 or more; correct the table.')
    return Arch.from_dict(table)


def _wrong_numbers(table: dict) -> str | None:
    """The first entry that holds no number, or one below zero, as ``key = value``; what else is wrong, Arch says."""
    stages = table.get('stages')
    for part in (table, *(stages if isinstance(stages, list) else ())):
        for key, value in part.items() if isinstance(part, dict) else ():
            if key not in TEXTS and not (isinstance(value, int | float) and value >= 0):
                return f'{key} = {value!r}'
    return None

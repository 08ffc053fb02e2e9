"""Base networks by name, or user-defined base tables from JSON files."""

from ..archs import BASES, Arch
from ..errors import UserError, did_you_mean
from ..files import check_names, read_json

LARGEST, STAGES = 10**6, 1000  # number in a table, and the most stages
NOT_NUMBERS = ('name', 'family', 'block', 'stages', 'activation')  # entries of a table


def load_base(base: Arch | str) -> Arch:
    """A base network by name ('efficientnet_b0', 'resnet50', 'ghostnet_a', ...) or by the path of a JSON file.

    The file holds the output of ``dataclasses.asdict`` for an :class:`~tinynet_mm.archs.Arch`. An Arch is returned unchanged.

    Raises:
        FileNotFoundError: the file is missing.
        UserError: the name is unknown, or the file is not a valid table.
    """
    if isinstance(base, Arch):
        return base
    if base in BASES:
        return BASES[base]
    if not base.endswith('.json'):
        hint = did_you_mean(base, BASES)
        raise UserError(f'unknown base {base!r}.{hint} Known: {", ".join(BASES)}; or pass the path of a .json file.')
    table = read_json(base)
    if not isinstance(table, dict):
        raise UserError(f'{base} is not a base table but a {type(table).__name__}; write a JSON object.')
    if wrong := _wrong_numbers(table):
        raise UserError(f'{base}: {wrong} is not a number of 0 or more, up to {LARGEST}; correct the table.')
    stages = table.get('stages')
    if isinstance(stages, list) and len(stages) > STAGES:
        raise UserError(f'{base} has {len(stages)} stages; give at most {STAGES}.')
    try:
        arch = Arch.from_dict(table)
    except UserError as error:
        raise UserError(f'{base}: {error}') from error
    check_names(arch.name, base)
    return arch


def _wrong_numbers(table: dict) -> str | None:
    """The first entry that is not a number from 0 to ``LARGEST``, as ``key = value``. Arch checks everything else."""
    stages = table.get('stages')
    for part in (table, *(stages if isinstance(stages, list) else ())):
        for key, value in part.items() if isinstance(part, dict) else ():
            if key not in NOT_NUMBERS and not (isinstance(value, int | float) and 0 <= value <= LARGEST):
                return f'{key} = {repr(value)[:40]}'
    return None

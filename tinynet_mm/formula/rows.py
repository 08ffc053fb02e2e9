"""Columns of a table of networks as numbers."""

import math
from collections.abc import Mapping, Sequence

from ..errors import UserError
from ..files import to_number


def column(rows: Sequence[Mapping], name: str) -> list[float]:
    """One column as finite numbers.

    Raises:
        UserError: no rows, a missing column, or rows without a finite number.
    """
    values = [to_number(row.get(name)) for row in rows]
    if not values:
        raise UserError('no networks in this table; add rows.')
    if all(row.get(name) is None for row in rows):
        raise UserError(f'no column {name!r} in this table of {len(rows)} networks; add it.')
    if bad := [i for i, value in enumerate(values) if not math.isfinite(value)]:
        raise UserError(f'{len(bad)} of {len(rows)} rows have no finite {name!r} (first: row {bad[0] + 1}); drop them.')
    return values

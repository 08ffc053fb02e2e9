"""One column of a table of networks as numbers."""

import math
from collections.abc import Mapping, Sequence

from ..errors import UserError
from ..files import to_number


def column(rows: Sequence[Mapping], name: str) -> list[float]:
    """One column as finite numbers.

    Raises:
        UserError: no rows, no such column, or rows without a finite number, with how many.
    """
    values = [to_number(row.get(name)) for row in rows]
    if not values:
        raise UserError('there are no networks in this table.')
    if all(row.get(name) is None for row in rows):
        raise UserError(f'this table of {len(rows)} networks has no column {name!r}, which is needed.')
    if bad := [i for i, value in enumerate(values) if not math.isfinite(value)]:
        raise UserError(f'{len(bad)} of {len(rows)} rows have no finite {name!r} (first: row {bad[0] + 1}); drop them.')
    return values

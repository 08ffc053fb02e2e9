"""Budgets as text ('75M', '1.8G') and costs as text."""

import re

from ..errors import UserError

FACTORS = {'': 1, 'k': 10**3, 'm': 10**6, 'g': 10**9, 'b': 10**9}  # B for billion, as the paper writes ResNet's FLOPs
PATTERN = re.compile(r'(\d+\.?\d*(?:e\+?\d+)?|\.\d+)\s*([kmgb]?)', re.IGNORECASE | re.ASCII)


def parse_budget(text: str | int | float) -> int:
    """A budget like '75M', '1.8G', '75e6' or a number, as a positive integer.

    Raises:
        UserError: the text is not a budget.
    """
    match = PATTERN.fullmatch(str(text).strip())
    value = float(match[1]) * FACTORS[match[2].lower()] if match else 0
    if not 1 <= value < 1e18:
        raise UserError(f'{text!r} is not a budget; write a number with K, M or G, like 75M or 1.8G.')
    return round(value)


def readable(value: float) -> str:
    """A number with three or four digits and a letter for the factor: 75.3M, 1.80G."""
    if value >= 1e15:
        return f'{value:.3g}'
    for factor, letter in ((10**9, 'G'), (10**6, 'M'), (10**3, 'k')):
        if value >= factor:
            scaled = value / factor
            return f'{scaled:.{2 if scaled < 10 else 1}f}{letter}'
    return f'{value:.0f}'


def amount(value: float, unit: str) -> str:
    """A cost with its unit: 75.0M MACs, 5.00 ms."""
    return f'{value:.2f} ms' if unit == 'ms' else f'{readable(value)} {unit}'

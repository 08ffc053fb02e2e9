"""Compare the networks of one budget: means, confidence intervals, tests of the differences, and what the seeds can resolve.

The tests are Welch's, which does not assume equal deviations. Their p-values are corrected for the number of comparisons at a
budget by Holm's method. Tests and distributions are those of scipy, which has neither Holm's method nor the power of a test.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from .folder import METHODS, RANDOM

LEVEL = 0.05  # of the tests and the intervals
POWER = 0.8


def accuracies(rows: Sequence[dict]) -> dict[tuple[float, str], np.ndarray]:
    """The accuracies in per cent of each budget and method, over the seeds; on the test images where all networks have them."""
    key = 'test_accuracy' if images_of(rows) == 'test' else 'accuracy'
    groups: dict[tuple[float, str], list[float]] = {}
    for row in rows:
        if row['method'] != RANDOM:
            groups.setdefault((row['target'], row['method']), []).append(row[key])
    return {group: np.array(values, float) for group, values in groups.items()}


def images_of(rows: Sequence[dict]) -> str:
    """The images of a comparison: ``test`` if each compared network has an accuracy on the test images, else ``validation``."""
    compared = [row for row in rows if row['method'] != RANDOM]
    return 'test' if compared and all(row.get('test_accuracy', '') != '' for row in compared) else 'validation'


def table(rows: Sequence[dict], reference: str = 'tiny') -> list[dict]:
    """One row for each budget and method.

    Returns:
        rows with ``mean``, ``std`` (n - 1), ``low`` and ``high`` (95 % interval of the mean, of Student's t), and the difference
        of ``reference`` from this method: ``ahead``, its 95 % interval, ``p`` (Welch), ``p_holm``, and ``detectable``, the true
        difference that this test finds with a probability of 0.8. Values that need two seeds or a reference are empty.
    """
    values, result = accuracies(rows), []
    for target in sorted({target for target, _ in values}, reverse=True):
        group = {method: values[target, method] for method in METHODS if (target, method) in values}
        lines = [_line(target, method, found, group.get(reference)) for method, found in group.items()]
        tested = [line for line in lines if line['method'] != reference and line['p'] != '']
        for line, corrected in zip(tested, holm([line['p'] for line in tested])):
            line['p_holm'] = round(corrected, 4)
        result += lines
    return result


def _line(target: float, method: str, found: np.ndarray, reference: np.ndarray | None) -> dict:
    several = len(found) > 1
    line = dict(target=target, method=method, seeds=len(found), mean=round(float(found.mean()), 3))
    low, high = interval(found) if several else ('', '')
    line |= dict(std=round(float(found.std(ddof=1)), 3) if several else '', low=low, high=high)
    empty = dict.fromkeys(('ahead', 'ahead_low', 'ahead_high', 'p', 'p_holm', 'detectable'), '')
    if reference is None or found is reference or not several or len(reference) < 2:
        return line | empty
    test = stats.ttest_ind(reference, found, equal_var=False)
    limits = test.confidence_interval(1 - LEVEL)
    numbers = dict(ahead=reference.mean() - found.mean(), ahead_low=limits.low, ahead_high=limits.high)
    numbers |= dict(detectable=detectable(reference, found))
    return line | empty | {key: round(float(value), 3) for key, value in numbers.items()} | dict(p=round(float(test.pvalue), 5))


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of two or more values."""
    mean, margin = float(values.mean()), float(stats.t.ppf(1 - LEVEL / 2, len(values) - 1) * stats.sem(values))
    return round(mean - margin, 3), round(mean + margin, 3)


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected by Holm's step-down method."""
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * (len(p) - np.arange(len(p)))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return corrected.tolist()


def detectable(one: np.ndarray, other: np.ndarray, power: float = POWER) -> float:
    """The difference of means that a two-sided t test at 5 % finds with probability ``power``, for these deviations and sizes.

    The power is that of the noncentral t distribution with Welch's degrees of freedom. It is an approximation, too optimistic
    for few seeds (simulated: 0.78 instead of 0.8 with five, 0.69 with three).
    """
    variances = one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)
    error = np.sqrt(sum(variances))
    if not error:
        return 0.0
    freedom = sum(variances) ** 2 / sum(v**2 / (len(group) - 1) for v, group in zip(variances, (one, other)))
    limit = stats.t.ppf(1 - LEVEL / 2, freedom)

    def missing(shift: float) -> float:
        inside = stats.nct.cdf(limit, freedom, shift) - stats.nct.cdf(-limit, freedom, shift)
        return float(np.nan_to_num(inside)) - (1 - power)  # scipy returns NaN far from the limit, where it is zero

    return float(error * brentq(missing, 0, 10 * limit))

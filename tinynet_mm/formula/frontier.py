"""The best networks of a sweep by the selection of NSGA-III, and rank correlations of r, w and d.

TinyNet (NeurIPS 2020), section 3.2 and Figure 3: the best 20 % of accuracy against MACs by NSGA-III (Deb and Jain, 2014), and
among them Spearman's rank correlation of each dimension with FLOPs. The selection takes complete fronts while they fit, and of
the next front one network for each direction in which no network is chosen yet (niching). The paper does not give the directions;
here they are as many as networks are chosen.
"""

from collections.abc import Sequence
from warnings import catch_warnings

import numpy as np
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions
from scipy.stats import spearmanr

from ..errors import UserError
from .rows import column


def non_dominated_ranks(accuracy: Sequence[float], macs: Sequence[float]) -> np.ndarray:
    """Rank of each network (n,): 0 for the Pareto front (higher accuracy, fewer MACs), 1 for the next front, and so on.

    Raises:
        UserError: the lists are empty or of different lengths, or a value is not finite.
    """
    objectives = _objectives(accuracy, macs)
    ranks = np.empty(len(objectives), dtype=int)
    for rank, front in enumerate(NonDominatedSorting().do(objectives)):
        ranks[front] = rank
    return ranks


def frontier(rows: list[dict], share: float = 0.2) -> list[dict]:
    """The best ``share`` of the rows, front by front; of the last front, the networks that NSGA-III's niching chooses.

    The niching breaks ties at random, with a fixed seed.

    Args:
        rows: rows with ``accuracy`` and ``macs``.
        share: above 0 and at most 1.

    Returns:
        the chosen rows, unchanged, in ascending order of MACs.

    Raises:
        UserError: no rows, a missing or non-finite value, or a share that is not allowed.
    """
    if not 0 < share <= 1:
        raise UserError(f'share={share}: give a share of the networks above 0 and at most 1, like 0.2.')
    objectives = _objectives(column(rows, 'accuracy'), column(rows, 'macs'))
    wanted = max(1, round(share * len(rows)))
    directions = get_reference_directions('das-dennis', 2, n_partitions=max(1, wanted - 1))
    least, most = objectives.min(axis=0), objectives.max(axis=0)
    scaled = (objectives - least) / np.where(most > least, most - least, 1)  # pymoo finds the ends of a front on one scale only
    with catch_warnings():  # pymoo switches all warnings off
        chosen = ReferenceDirectionSurvival(directions).do(
            Problem(n_obj=2),
            Population.new(F=scaled),
            n_survive=wanted,
            random_state=np.random.default_rng(0),
            return_indices=True,
        )
    return sorted((rows[i] for i in chosen), key=lambda row: row['macs'])


def spearman(rows: list[dict]) -> dict[str, float]:
    """Spearman's rank correlation of r, w and d with MACs, from -1 to 1; 0 for a dimension with one value.

    Raises:
        UserError: missing values, or the same MACs in all rows.
    """
    macs = column(rows, 'macs')
    if len(set(macs)) < 2:
        raise UserError('a rank correlation with MACs needs networks of at least two different costs.')
    columns = {name: column(rows, name) for name in 'rwd'}
    return {name: float(spearmanr(v, macs).statistic) if len(set(v)) > 1 else 0.0 for name, v in columns.items()}


def spearman_interval(rho: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a rank correlation of ``count`` networks (Bonett and Wright, Psychometrika 65, 2000).

    It is approximate, and (-1, 1) for three networks or fewer and for a correlation of -1 or 1, which says nothing about others.
    """
    if count <= 3 or abs(rho) >= 1:
        return -1.0, 1.0
    margin = 1.96 * np.sqrt((1 + rho**2 / 2) / (count - 3))
    low, high = np.tanh(np.arctanh(rho) + np.array([-margin, margin])).tolist()
    return low, high


def spearman_texts(rows: list[dict]) -> dict[str, str]:
    """The correlations of :func:`spearman` with their intervals, for instance ``0.85 (0.39 to 0.97)``."""
    found = {name: (rho, *spearman_interval(rho, len(rows))) for name, rho in spearman(rows).items()}
    return {name: f'{rho:.2f} ({low:.2f} to {high:.2f})' for name, (rho, low, high) in found.items()}


def _objectives(accuracy: Sequence[float], macs: Sequence[float]) -> np.ndarray:
    """Both objectives (n, 2) for minimisation."""
    gains, costs = np.asarray(accuracy, dtype=float), np.asarray(macs, dtype=float)
    if gains.shape != costs.shape or gains.ndim != 1 or not len(gains):
        raise UserError(f'accuracy {gains.shape} and macs {costs.shape}: pass two lists of one length, an entry per network.')
    if bad := np.flatnonzero(~(np.isfinite(gains) & np.isfinite(costs))).tolist():
        raise UserError(
            f'{len(bad)} of {len(costs)} networks have no finite accuracy or MACs (first: row {bad[0] + 1}); drop them.'
        )
    return np.stack([-gains, costs], axis=1)

"""The best networks of a sweep: non-dominated sorting of accuracy against MACs, and how r, w and d go with MACs.

TinyNet (NeurIPS 2020), section 3.2 and Figure 3: the best 20 % by the non-dominated sorting of NSGA-III (Deb and Jain, 2014),
and Spearman's rank correlation of each dimension with FLOPs among them.
"""

import numpy as np
from pymoo.operators.survival.rank_and_crowding.metrics import get_crowding_function
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from scipy.stats import spearmanr

from ..errors import UserError
from .rows import column


def non_dominated_ranks(accuracy, macs) -> np.ndarray:
    """Rank of each network, 0 for the Pareto front (higher accuracy, fewer MACs), 1 for the front behind it, and so on."""
    return _ranks(_objectives(accuracy, macs))


def frontier(rows: list[dict], share: float = 0.2) -> list[dict]:
    """The best ``share`` of the rows, front by front; a front that does not fit whole is thinned to its most spread-out networks.

    Rows need ``accuracy`` and ``macs``; they come back unchanged, by rising MACs. Raises ValueError on missing, NaN or no values.
    """
    if not 0 < share <= 1:
        raise UserError(f'share={share}: the share of the best networks is above 0 and at most 1, like 0.2.')
    objectives = _objectives(column(rows, 'accuracy'), column(rows, 'macs'))
    ranks, wanted = _ranks(objectives), max(1, round(share * len(rows)))
    chosen: list[int] = []
    for rank in range(ranks.max() + 1):
        front = np.flatnonzero(ranks == rank)
        chosen += _most_spread(front, objectives, wanted - len(chosen))
        if len(chosen) == wanted:
            break
    return sorted((rows[i] for i in chosen), key=lambda row: row['macs'])


def spearman(rows: list[dict]) -> dict[str, float]:
    """Spearman's rank correlation of r, w and d with MACs, from -1 to 1; 0 for one that is the same in all rows."""
    macs = column(rows, 'macs')
    if len(set(macs)) < 2:
        raise UserError('a rank correlation with MACs needs networks of at least two different costs.')
    columns = {name: column(rows, name) for name in 'rwd'}
    return {name: float(spearmanr(v, macs).statistic) if len(set(v)) > 1 else 0.0 for name, v in columns.items()}


def _objectives(accuracy, macs) -> np.ndarray:
    """(n, 2), both to be made small."""
    accuracy, macs = np.asarray(accuracy, dtype=float), np.asarray(macs, dtype=float)
    if accuracy.shape != macs.shape or accuracy.ndim != 1 or not len(accuracy):
        raise UserError(f'accuracy {accuracy.shape} and macs {macs.shape} are two lists of one length, one entry a network.')
    if bad := np.flatnonzero(~(np.isfinite(accuracy) & np.isfinite(macs))).tolist():
        raise UserError(
            f'{len(bad)} of {len(macs)} networks lack a finite accuracy or MACs (first: row {bad[0] + 1}); drop them.'
        )
    return np.stack([-accuracy, macs], axis=1)


def _ranks(objectives: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(objectives), dtype=int)
    for rank, front in enumerate(NonDominatedSorting().do(objectives)):
        ranks[front] = rank
    return ranks


def _most_spread(front: np.ndarray, objectives: np.ndarray, room: int) -> list[int]:
    if len(front) <= room:
        return front.tolist()
    crowding = get_crowding_function('cd').do(objectives[front], n_remove=len(front) - room)
    return front[np.argsort(-crowding, kind='stable')[:room]].tolist()

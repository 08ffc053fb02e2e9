"""The tiny formula (TinyNet, NeurIPS 2020, section 3): sample networks, take the front, fit r and d over MACs, solve w.

This package uses NumPy, SciPy, scikit-learn and pymoo. It does not import torch.
"""

from .frontier import frontier, non_dominated_ranks, spearman
from .sampling import sample_band, sample_budget
from .tiny import Solution, TinyFormula

__all__ = [
    'Solution',
    'TinyFormula',
    'frontier',
    'non_dominated_ranks',
    'sample_band',
    'sample_budget',
    'spearman',
]

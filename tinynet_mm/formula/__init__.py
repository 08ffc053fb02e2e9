"""The tiny formula (TinyNet, NeurIPS 2020, section 3): sample networks, take the front, fit r and d over MACs, solve w.

Pure tables and NumPy, SciPy, scikit-learn, pymoo: nothing here needs torch.
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

"""MMEngine's training logs, read back: found in work directories, resumed runs joined, validation put where it belongs.

What MMEngine (0.10) writes, seen from its runner rather than its documentation: each start of a training makes its own
``WORK_DIR/<timestamp>/vis_data/scalars.json``, one JSON object a line (``<timestamp>.json`` beside it repeats it; the file of
that name one level up is a test's result). Lines of training carry ``iter``; lines of validation do not, and their ``step`` is
the *epoch* where that of training is the iteration; under ``IterBasedTrainLoop`` it is 0 throughout. So a plot of values over
``step`` is wrong: the place of a validation follows here from the lines around it and from ``vis_data/config.py``.
"""

from .placing import Row
from .runs import Run, read, select, state, write_csv

__all__ = ['Row', 'Run', 'read', 'select', 'state', 'write_csv']

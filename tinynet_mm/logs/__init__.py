"""Read MMEngine's training logs: find them in work directories, join resumed runs, assign validations to their epochs.

MMEngine 0.10 writes one ``WORK_DIR/<timestamp>/vis_data/scalars.json`` per start of a training, with one JSON object per line
(``<timestamp>.json`` in the same folder repeats it; the file of that name one level up is the result of a test). This follows
from its runner, not from its documentation. Training lines have ``iter``; validation lines do not. The ``step`` of a training
line is the iteration, but the ``step`` of a validation line is the *epoch*, and always 0 with ``IterBasedTrainLoop``. A plot over
``step`` is therefore wrong: here the position of a validation follows from the lines around it and from ``vis_data/config.py``.
"""

from .placing import Row
from .runs import Run, read, select, state, write_csv

__all__ = ['Row', 'Run', 'read', 'select', 'state', 'write_csv']

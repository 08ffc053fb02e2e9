"""What the console of a tool shows: the lines of MMEngine and of pycocotools that it hides, and ours.

The hooks that are registered with ``import tinynet_mm`` import this module, so it imports nothing of MMLab.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

DUMPS = ('\n' + '-' * 60 + '\nSystem environment', 'Config:\n', 'Hooks will be executed in the following order')
NOISE = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')  # MMEngine and mmdet on their own code
TABLE = (' Average Precision', ' Average Recall')  # of pycocotools: for the log file
CONSOLE = dict(console=True)  # ``extra`` of the log records that the console of a training shows
SIZES = dict(s='small', m='medium', l='large')


class WithoutNoise(logging.Filter):
    """Drop deprecations inside MMLab."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the console shows a record."""
        return not str(record.msg).startswith(NOISE)


class WithoutDumps(logging.Filter):
    """Drop the dumps of the environment, the config and the hooks, deprecations inside MMLab, and the tables of pycocotools."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the console shows a record."""
        return not str(record.msg).startswith(DUMPS + NOISE + TABLE)


class OurLines(WithoutDumps):
    """Drop all records but warnings and those logged with ``extra=CONSOLE``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the console shows a record."""
        return (getattr(record, 'console', False) or record.levelno >= logging.WARNING) and super().filter(record)


class PlainConsole(logging.StreamHandler):
    """Print records without time and name, above a progress bar if there is one; a warning starts with ``warning:``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record; as in all handlers of Python, a stream that is closed does not stop the program."""
        level = f'{record.levelname.lower()}: ' if record.levelno >= logging.WARNING else ''
        try:
            tqdm.write(f'{level}{record.getMessage()}', file=self.stream)
            self.flush()
        except (ValueError, OSError):
            self.handleError(record)


def scores_line(metrics: Mapping[str, Any]) -> str:
    """Return the scores of an evaluation in one line; those of mmdet are ``mAP 0.554, mAP50 0.881, ..., small 0.312``.

    Sizes of which the data has no box are left out, and so are the scores of the weights before averaging.
    """
    words = {name: value for name, value in metrics.items() if isinstance(value, int | float) and not name.startswith('raw/')}
    return ', '.join(f'{_short(name)} {value:.4g}' for name, value in words.items() if not ('mAP' in name and value < 0))


def _short(name: str) -> str:
    """Return ``mAP50`` for ``coco/bbox_mAP_50``, ``small`` for ``coco/bbox_mAP_s`` and ``top1`` for ``accuracy/top1``."""
    last = name.rpartition('/')[2].removeprefix('bbox_')
    if found := re.fullmatch(r'mAP_([sml])', last):
        return SIZES[found[1]]
    return re.sub(r'^mAP_(?=\d)', 'mAP', last)

"""What differs between the MMLab versions we run on: a readable refusal of the others, and one fix of the originals.

Two stacks are tested: the maintained forks (onedl-mmengine 0.10.12, onedl-mmcv 2.3.6, onedl-mmdetection 3.5.1,
onedl-mmpretrain 1.3.6) and the originals (mmengine 0.10.7, mmcv 2.1.0, mmdet 3.3.0, mmpretrain 1.2.0). Import names are equal.
"""

import functools
import pickle
import runpy
from importlib.util import find_spec
from logging import DEBUG, INFO
from pathlib import Path

from packaging.version import Version

from ..errors import MissingPackageError

# host: first version that fits, first that no longer does
RANGES = {
    'mmengine': ('0.10.0', '1.0'),
    'mmcv': ('2.0.1', '3.0'),
    'mmdet': ('3.2.0', '4.0'),
    'mmpretrain': ('1.1.0', '2.0'),
}
FIX = 'pip install -r requirements/onedl.txt (or openmmlab.txt), or make env; `python tools/doctor.py` looks at the rest'


def version_of(package: str) -> str | None:
    """Version of an MMLab package without importing it; None where it is absent, or carries no version."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).parent / 'version.py'
    return runpy.run_path(str(path)).get('__version__') if path.exists() else None


def check_versions() -> None:
    """Raise one ImportError that names every MMLab part of a version we do not run on, and the fix."""
    wrong = []
    for package, (first, last) in RANGES.items():
        version = version_of(package)
        if version and not Version(first) <= Version(version) < Version(last):
            wrong.append(f'{package}>={first},<{last} (installed: {version})')
    if wrong:
        raise MissingPackageError(f'tinynet_mm needs {" and ".join(wrong)}; {FIX}')


def silence_onedl() -> None:
    """Drop one line that the forks of mmdet print at every import: "Could not import OneDL. Skipping OneDL datasets.".

    It is meant for the log at DEBUG level, but ``print_log`` without a logger prints. Every other message passes.
    """
    from mmengine import logging

    original = logging.print_log

    @functools.wraps(original)
    def print_log(msg, logger=None, level=INFO):
        if not (logger is None and level == DEBUG and str(msg).startswith('Could not import OneDL')):
            original(msg, logger, level)

    logging.print_log = print_log


def allow_history_buffers() -> None:
    """Let mmengine 0.10.7 resume under torch >= 2.6, which loads weights only unless a class is known to be harmless.

    A checkpoint of MMEngine holds loss curves: ``HistoryBuffer``, which holds numpy arrays. The forks allow these themselves.
    """
    from mmengine.runner import checkpoint

    if hasattr(checkpoint, 'get_torch_safe_globals'):
        return
    import torch

    torch.serialization.add_safe_globals(harmless())


def harmless() -> list:
    """What MMEngine's checkpoints hold beside tensors: loss curves, which are numpy arrays in a HistoryBuffer. Data, no code.

    A HistoryBuffer names its own methods by ``getattr``, which is granted for that class only.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    kinds = [type(np.dtype(name)) for name in ('uint32', 'int64', 'float32', 'float64')]
    return [HistoryBuffer, (method_of_history, 'builtins.getattr'), core._reconstruct, core.scalar, np.ndarray, np.dtype, *kinds]


def method_of_history(owner: type, name: str):
    """``getattr`` for a HistoryBuffer; UnpicklingError for anything else."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer:
        raise pickle.UnpicklingError(f'GLOBAL getattr of {owner!r}')
    return getattr(owner, name)

"""Check the versions of MMLab, hide messages about its own code, and name the classes in its checkpoints.

Two stacks are tested: the maintained forks (onedl-mmengine 0.10.12, onedl-mmcv 2.3.6, onedl-mmdetection 3.5.1,
onedl-mmpretrain 1.3.6) and the originals (mmengine 0.10.7, mmcv 2.1.0, mmdet 3.3.0, mmpretrain 1.2.0). Import names are equal.
"""

import functools
import pickle
import runpy
import warnings
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from logging import INFO, Logger
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.version import Version

from ..errors import MissingPackageError

# package: first supported version, first later version that is not supported
RANGES = {
    'mmengine': ('0.10.0', '1.0'),
    'mmcv': ('2.0.1', '3.0'),
    'mmdet': ('3.2.0', '4.0'),
    'mmpretrain': ('1.1.0', '2.0'),
}
# texts of MMLab's lines without logger: a note on each import of the forks' mmdet, and a second line for each loaded checkpoint
PRINTED = ('Could not import OneDL', 'Loads checkpoint by ')
# (text, module) of Python warnings; both are regular expressions for the start
WARNINGS = (
    ('faster_coco_eval is not installed', r'mmdet\.'),
    ('pkg_resources is deprecated as an API', r'mm(engine|cv|det|pretrain)\.'),
    ('torch.meshgrid: in an upcoming release', 'torch.functional'),  # mmdet's grid of points
)
CORES = ('core', '_core')  # the module of arrays in numpy 1 and 2: a checkpoint of one is read with the other
FIX = 'pip install -r requirements/onedl.txt (or openmmlab.txt), or make env; `tinynet doctor` checks the rest'


def version_of(package: str) -> str | None:
    """Return the version of an MMLab package without importing it; None if it is not installed or has no version."""
    spec = find_spec(package)
    if spec is None or not spec.origin:
        return None
    path = Path(spec.origin).parent / 'version.py'
    return runpy.run_path(str(path)).get('__version__') if path.exists() else None


def check_versions() -> None:
    """Check that the installed MMLab packages have supported versions.

    Raises:
        MissingPackageError: the packages with other versions, and the pip command.
    """
    wrong = []
    for package, (first, last) in RANGES.items():
        installed = version_of(package)
        if installed and not Version(first) <= Version(installed) < Version(last):
            wrong.append(f'{package}>={first},<{last} (installed: {installed})')
    if wrong:
        raise MissingPackageError(f'tinynet_mm needs {" and ".join(wrong)}; {FIX}')


def without_multimodal(dependency: ModuleType) -> None:
    """Switch off mmpretrain's multimodal models beside transformers 5, with which their import fails, and mmdet's with it.

    Args:
        dependency: the module ``mmpretrain.utils.dependency``, of which mmpretrain reads ``WITH_MULTIMODAL``.
    """
    try:
        installed = Version(version('transformers'))
    except PackageNotFoundError:
        return
    if installed >= Version('5'):
        dependency.WITH_MULTIMODAL = False  # type: ignore[attr-defined]


def silence() -> None:
    """Hide messages of MMLab about its own code, each by its origin and its text; all other messages pass."""
    for text, module in WARNINGS:
        warnings.filterwarnings('ignore', text, UserWarning, module)
    hide_prints()


def hide_prints() -> None:
    """Drop the lines of ``PRINTED``, which ``print_log`` prints if it has no logger."""
    from mmengine import logging

    original = logging.print_log

    @functools.wraps(original)
    def print_log(msg: object, logger: Logger | str | None = None, level: int = INFO) -> None:
        if logger is not None or not str(msg).startswith(PRINTED):
            original(msg, logger, level)

    logging.print_log = print_log


def harmless() -> list:
    """Return the classes of the loss curves in MMEngine's checkpoints: HistoryBuffer and numpy arrays, data without code.

    A pickled HistoryBuffer calls ``getattr`` on its own class; :func:`method_of_history` allows no other class.
    """
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core: Any = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray  # type: ignore[attr-defined]
    made = [(part, f'numpy.{name}.multiarray.{part.__name__}') for part in (core._reconstruct, core.scalar) for name in CORES]
    kinds = [type(np.dtype(name)) for name in ('uint32', 'int64', 'float32', 'float64')]
    return [HistoryBuffer, (method_of_history, 'builtins.getattr'), *made, np.ndarray, np.dtype, slice, *kinds]


def method_of_history(owner: type, name: str) -> Any:
    """Return an attribute of HistoryBuffer.

    Raises:
        pickle.UnpicklingError: another class.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer:
        raise pickle.UnpicklingError(f'GLOBAL getattr of {owner!r}')
    return getattr(owner, name)

"""The part of packaging that needs code: the folder ``tinynet_mm/.mim``, where MMEngine and mim look for configs and tools.

A wheel gets copies; an editable install gets links, which git ignores. MMEngine takes only names with a folder
(``tinynet_mm::ssdlite/ssdlite_tinynet_d_coco.py``), so ``configs/ssdlite_*.py`` are placed in ``.mim/configs/ssdlite`` with
``configs/_base_`` next to them. Metadata and settings are in pyproject.toml.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NOT_SHIPPED = ('setup_env.py', 'make_index.py', 'make_tables.py')  # tools that work on a checkout


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder, for a wheel."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
    else:
        shutil.copyfile(source, target)


def link(source: Path, target: Path) -> None:
    """Link to a file or folder, for an editable install."""
    target.symlink_to(source)


def make_mim(mim: Path, place: Callable[[Path, Path], None]) -> None:
    """Create ``mim`` with ``place(source, target)`` for each file or folder."""
    shutil.rmtree(mim, ignore_errors=True)
    (mim / 'configs').mkdir(parents=True)
    (mim / 'tools').mkdir()
    for tool in (ROOT / 'tools').glob('*.py'):
        if tool.name not in NOT_SHIPPED:
            place(tool, mim / 'tools' / tool.name)
    for source in (ROOT / 'configs').iterdir():
        if source.is_dir() and source.name != '_base_':
            place(source, mim / 'configs' / source.name)
        elif source.suffix == '.py':
            folder = mim / 'configs' / source.name.split('_')[0]
            if not folder.exists():
                folder.mkdir()
                place(ROOT / 'configs' / '_base_', folder / '_base_')
            place(source, folder / source.name)
    for name in ('model-index.yml', 'configs/metafile.yml'):
        text = (ROOT / name).read_text()
        (mim / name).write_text(re.sub(r'(Config: configs/)([a-z0-9]+)(_)', r'\1\2/\2\3', text))


class BuildWithMim(build_py):
    """``build_py`` that also creates ``.mim``."""

    def run(self) -> None:
        """Build the modules, then the folder."""
        super().run()
        if self.editable_mode:
            make_mim(ROOT / 'tinynet_mm' / '.mim', link)
        else:
            make_mim(Path(self.build_lib) / 'tinynet_mm' / '.mim', copy)


setup(cmdclass={'build_py': BuildWithMim})

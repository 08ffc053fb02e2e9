"""One training for each work directory at a time, and none that a refused training leaves behind."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from ..errors import UserError
from ..files import check_writable, make_folder


@contextmanager
def removed_if_refused(folder: str | Path) -> Iterator[None]:
    """Remove a work directory that did not exist before if the training in the context is refused before its first step.

    It then has only a lock, a config and logs without values.
    """
    path = Path(folder)
    new = not path.exists()
    try:
        yield
    except UserError:
        if new and not any(_is_result(file) for file in path.rglob('*')):
            shutil.rmtree(path, ignore_errors=True)
        raise


def _is_result(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0 and path.suffix not in ('.py', '.log')


def hold(folder: str | Path) -> IO:
    """Lock a work directory against other processes until this one ends, in any way, or the returned file is closed.

    Files that a killed training has left half-written are removed.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    path = make_folder(folder) / '.lock'
    check_writable(path)
    file = path.open('w')
    if find_spec('fcntl') is None:  # Windows, where nothing is locked
        return file
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not held by loader processes that outlive this one
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):  # a file system without locks
            return file
        file.close()
        raise UserError(f'{folder} is in use by another training; wait for its end, or give another --work-dir.') from error
    for part in path.parent.glob('.*.part.pth'):
        part.unlink()
    return file

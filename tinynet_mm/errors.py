"""User errors, which end a tool with one line, and helpers for messages.

Only :class:`UserError`, a missing file, a full disk and ctrl-C end a tool with one line. Every other exception is a bug and
keeps its traceback. This module imports only the standard library, so that every tool can use it before it loads torch.
"""

import difflib
import errno
import io
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

TRACEBACK = 'TINYNET_MM_TRACEBACK'
LONGEST = 2000  # characters of a message; more is the content of a file that the message quotes
# torch's switches for every torch.load of a process; the second one also holds for packages whose loaders we do not replace
TRUST_ALL, TRUST_NONE = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
TRUE = ('1', 'y', 'yes', 'true')  # values that switch them on, in torch.serialization
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # a disk on which nothing can be written
EXTRAS = {  # the extra of pyproject.toml that brings an importable package
    'onedl': ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'timm'),
    'torch': ('matplotlib', 'jinja2', 'packaging', 'safetensors', 'tabulate', 'yaml'),
    'formula': ('scipy', 'sklearn', 'pymoo'),
    'deploy': ('onnx', 'onnxslim', 'openvino', 'ncnn', 'nncf', 'pnnx', 'pycocotools'),
    'cam': ('pytorch_grad_cam',),
}
REPORT = 'this is a bug in tinynet_mm or in a library below it; please report it with the lines above and the command.'


class UserError(ValueError):
    """Input that the user can correct. The message says what was given, what is allowed and what to do."""


class RepeatedError(UserError):
    """An error of the first process of a run on several processes, raised in the others; it is not printed again."""


class Stopped(BaseException):
    """A training stopped because the system asked for it; the message says where, and how to continue."""


class MissingPackageError(UserError, ImportError):
    """A package is not installed, or its version does not fit; the message names the pip command."""


def run(main: Callable[[], int | None], stopped: str = 'stopped.') -> None:
    """Call the ``main`` of a tool and exit with its status.

    A user error prints one line on stderr and exits with 2, ctrl-C with 130, SIGTERM during a training with 143, an output that
    nobody reads any more (``| head``) with 141, a bug with 1 and its traceback. Checkpoints are loaded without running code from
    their pickle, unless the user sets torch's variable for that. Characters that the terminal does not have are escaped.

    Args:
        main: returns the exit status; None is 0.
        stopped: the line to print on ctrl-C.
    """
    if not trusts_checkpoints():
        os.environ[TRUST_NONE] = '1'
    os.environ['MPLBACKEND'] = 'agg'  # no tool opens a window, and matplotlib fails on a name that it does not know
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')  # for a terminal in ASCII
    try:
        status = main()
        if sys.stdout:
            sys.stdout.flush()  # here, where its errors are handled, and not at the end of Python
        sys.exit(status)
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except Stopped as reason:
        print(printable(str(reason)), file=sys.stderr)
        sys.exit(143)
    except RepeatedError:
        sys.exit(2)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still in the buffer
            sys.exit(141)
        error = _missing_package(error) or error
        expected = isinstance(error, UserError | FileNotFoundError) or (isinstance(error, OSError) and error.errno in FULL)
        if not expected or os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f'error: {printable(one_line(error))}' if expected else REPORT, file=sys.stderr)
        sys.exit(2 if expected else 1)


def _missing_package(error: Exception) -> MissingPackageError | None:
    """The sentence for a package of an extra that is not installed; None for any other error."""
    name = (error.name or '').partition('.')[0] if isinstance(error, ModuleNotFoundError) else ''
    extra = next((extra for extra, packages in EXTRAS.items() if name in packages), None)
    if extra is None or isinstance(error, UserError) or find_spec(name):
        return None
    fix = f'pip install "tinynet_mm[{extra}]"'
    if extra == 'onedl':
        fix += ', after torch and mmcv with operators (see docs/installation.md), or make env in a checkout'
    return MissingPackageError(f'this command needs the package {name}, which is not installed: {fix}.')


def trusts_checkpoints() -> bool:
    """Whether the user allows the code of all checkpoints, with torch's own variable."""
    return os.environ.get(TRUST_ALL) in TRUE


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    watched = select.poll()
    try:
        watched.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in watched.poll(0))


def one_line(error: Exception) -> str:
    """The message of an error without line breaks, cut if it is too long; for an ``OSError``, the file and the reason."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f'cannot write {error.filename or "a file"}: {error.strerror}; free disk space, or choose another path.'
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f'{error.filename}: {error.strerror.lower()}; check the path.'
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f'{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}'


def printable(text: str) -> str:
    """Text with ``?`` for characters that UTF-8 cannot encode, such as those of a file name in another encoding."""
    return text.encode(errors='replace').decode()


def did_you_mean(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.5) -> str:
    """``' Did you mean a or b?'`` with the names of ``known`` most similar to ``word``; empty if none is similar.

    Args:
        word: what the user wrote; it is never proposed.
        known: the valid names.
        count: the most names to propose.
        cutoff: the least similarity, from 0 to 1, as in :func:`difflib.get_close_matches`.
    """
    by_lower = {name.lower(): name for name in known if name != word}
    matches = difflib.get_close_matches(word.lower(), by_lower, n=count, cutoff=cutoff)
    return f' Did you mean {" or ".join(by_lower[name] for name in matches)}?' if matches else ''


def counted(count: int, noun: str, plural: str = '') -> str:
    """A number with its noun, like '1 box' and '2 boxes'."""
    return f'{count} {noun if count == 1 else plural or noun + "s"}'


def listed(names: Sequence[object], limit: int = 5, separator: str = ', ') -> str:
    """``'a, b and 3 more'``: at most ``limit`` names and the number of the others; empty for no names."""
    shown = separator.join(map(str, names[:limit]))
    return f'{shown} and {len(names) - limit} more' if len(names) > limit else shown


@contextmanager
def without_stderr() -> Iterator[None]:
    """Drop what C++ libraries print to standard error; our own message says what failed."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)

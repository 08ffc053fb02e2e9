"""Errors of the user as one sentence, and the words that every message shares.

Only :class:`UserError`, a missing file and ctrl-C end a tool with one line. Every other exception is a bug: it keeps its
traceback. This module imports the standard library only, so that every tool can use it before it loads torch.
"""

import difflib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence

TRACEBACK = 'TINYNET_MM_TRACEBACK'
REPORT = 'this is a bug in tinynet_mm or in a library below it; please report it with the lines above and the command.'


class UserError(ValueError):
    """Input that the user can correct. The message says what came, what is allowed and what to do."""


class MissingPackageError(UserError, ImportError):
    """A package is not installed, or its version does not fit; the message names the pip command."""


def run(main: Callable[[], int | None], stopped: str = 'stopped.') -> None:
    """Call the ``main`` of a tool and exit: 2 and one line on stderr for an error of the user, 130 for ctrl-C, 1 for a bug.

    Checkpoints load without running code from their pickle, unless the user sets torch's own switch for that.
    """
    if os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD') != '1':
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except (UserError, FileNotFoundError) as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        print(f'error: {printable(one_line(error))}', file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        print(REPORT, file=sys.stderr)
        sys.exit(1)


def one_line(error: Exception) -> str:
    """The message of an error without line breaks; of an ``OSError`` the file and the reason."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f'{error.filename}: {error.strerror.lower()}; check the path.'
    return ' '.join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """Text with ``?`` for what UTF-8 cannot encode, such as a file name in another encoding."""
    return text.encode(errors='replace').decode()


def did_you_mean(word: str, known: Iterable[str], count: int = 3, cutoff: float = 0.5) -> str:
    """``' Did you mean a or b?'`` from the nearest of ``known``, never ``word`` itself; empty if none is near."""
    by_lower = {name.lower(): name for name in known if name != word}
    near = difflib.get_close_matches(word.lower(), by_lower, n=count, cutoff=cutoff)
    return f' Did you mean {" or ".join(by_lower[name] for name in near)}?' if near else ''


def listed(names: Sequence[object], limit: int = 5, separator: str = ', ') -> str:
    """``'a, b and 3 more'``: at most ``limit`` names and the number of the others; empty for no names."""
    shown = separator.join(map(str, names[:limit]))
    return f'{shown} and {len(names) - limit} more' if len(names) > limit else shown

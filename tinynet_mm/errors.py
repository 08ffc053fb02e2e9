"""Errors as one sentence: how every tool ends. It stands alone so that tools which need no MMLab start without loading it."""

import os
import sys
import traceback
from collections.abc import Callable

TRACEBACK = 'TINYNET_MM_TRACEBACK'


def run(main: Callable[[], int | None], stopped: str = 'stopped.') -> None:
    """Call a tool's main; what the user can mend becomes one line on stderr and exit code 2; ctrl-C ends with 130.

    Checkpoints are loaded without running code that a pickle may hold, unless the user sets torch's own switch for that.
    """
    if os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD') != '1':
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if os.environ.get(TRACEBACK):
            raise
        if not is_users(error):
            traceback.print_exc()
            sys.exit(1)
        print(f'error: {" ".join(str(error).split())}', file=sys.stderr)
        sys.exit(2)


def is_users(error: Exception) -> bool:
    """Whether an error is one sentence to the user; others are ours and keep their traceback."""
    if isinstance(error, TypeError):
        return 'unexpected keyword argument' in str(error)
    if isinstance(error, KeyError):
        return 'is not in the' in str(error)
    return isinstance(error, ValueError | OSError | ImportError) and bool(str(error))

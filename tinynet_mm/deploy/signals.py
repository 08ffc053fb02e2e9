"""Keep the stack on which this process handles signals, which OpenVINO replaces.

When a ``Core`` of OpenVINO 2026.4 loads its CPU plugin, to list devices or to compile, the plugin gives the calling thread a
signal stack of its own (``sigaltstack``), and it restores the one before when the ``Core`` is deleted. If Cores are deleted
in the order in which they were made, the last one restores a stack that is unmapped. The next signal with a handler in
Python, such as SIGCHLD after a data loader of torch, then ends the process without a message.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2) on Linux."""

    _fields_ = (('address', ctypes.c_void_p), ('flags', ctypes.c_int), ('size', ctypes.c_size_t))


def signal_stack() -> _Stack | None:
    """The signal stack of this thread; None if the system is not Linux."""
    if sys.platform != 'linux':
        return None
    stack = _Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Restore the signal stack of this thread at the end of the context, so that no Core of OpenVINO knows that of another."""
    before = signal_stack()
    try:
        yield
    finally:
        if before is not None:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)

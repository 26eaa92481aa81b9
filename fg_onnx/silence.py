"""Quiet for libraries that write to stderr themselves."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_stderr_lock = threading.Lock()


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Sends file descriptor 2 nowhere in the meantime, for every thread of this process.

    For what libraries in C write there, past Python and past every log level; libpng and libjpeg
    do, and Ray.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stderr_lock)
        try:
            kept = os.dup(2)
        except OSError:  # a process without a stderr has none to keep clean
            yield
            return
        stack.callback(os.close, kept)
        nowhere = stack.enter_context(open(os.devnull, "wb"))
        os.dup2(nowhere.fileno(), 2)
        stack.callback(os.dup2, kept, 2)
        yield

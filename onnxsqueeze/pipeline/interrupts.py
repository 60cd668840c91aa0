"""Interruptions: held back while files are put in place, and otherwise a clean end within seconds.

No exception is raised where the main thread happens to be: native code that calls Python does not survive one.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 2.0  # seconds that a call into native code may keep the main thread from noticing
CLEAN_UP = 10.0  # seconds that cleaning up may take
SHOW_CURSOR = "\r\x1b[2K\x1b[?25h"  # clears the line of a progress bar, which hides the cursor

_holding = threading.Event()  # signals are held back
_parked = threading.Event()  # the main thread does no more


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def held_back() -> Iterator[None]:
    """SIGINT and SIGTERM that come meanwhile take effect afterwards."""
    if not _is_main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before = [(number, signal.signal(number, note) or signal.SIG_DFL) for number in SIGNALS]
    _holding.set()
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
        _holding.clear()


@contextmanager
def interruptible(message: str, clean_up: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the process with exit code 130, after ``clean_up`` and with ``message`` on stderr.

    The main thread stops between two steps of its Python code, or is left inside of native code after ``GRACE``
    seconds; a thread of its own does the rest.
    """
    if not _is_main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _parked.clear()
    threading.Thread(target=_watch, args=(reader, message, clean_up), daemon=True).start()
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = [(number, signal.signal(number, _park) or signal.SIG_DFL) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        signal.set_wakeup_fd(old_writer)
        os.close(writer)  # ends the thread


def _park(number: int, frame: FrameType | None) -> NoReturn:
    """Keeps the main thread from going on; the watching thread ends the process."""
    _parked.set()
    while True:
        time.sleep(60)


def _watch(reader: int, message: str, clean_up: Callable[[], None]) -> None:
    came = os.read(reader, 1)
    deadline = time.monotonic() + GRACE
    os.set_blocking(reader, False)
    while came and not _parked.is_set() and (_holding.is_set() or time.monotonic() < deadline):
        time.sleep(0.01)
        with suppress(BlockingIOError):
            came = os.read(reader, 1)  # empty once the writer is closed: the main thread has ended the job
    os.close(reader)
    if not came:
        return
    threading.excepthook = lambda failed: None  # of threads whose files go away
    threading.Thread(target=_end_at_last, daemon=True).start()
    with suppress(Exception):
        clean_up()
        atexit._run_exitfuncs()  # removes temporary folders
    with suppress(OSError):
        os.write(2, f"{SHOW_CURSOR if sys.stderr.isatty() else ''}{message}\n".encode())
    os._exit(130)


def _end_at_last() -> NoReturn:
    """Ends the process even where cleaning up waits for what the main thread holds."""
    time.sleep(CLEAN_UP)
    os._exit(130)

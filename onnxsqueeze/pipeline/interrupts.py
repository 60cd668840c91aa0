"""Interruptions: held back while files are put in place, and otherwise a clean end within seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 2.0  # seconds that a call into native code may keep the main thread from ending by itself

_holding = threading.Event()  # signals are held back
_lost = threading.Event()  # KeyboardInterrupt was raised where Python drops exceptions: in a destructor or callback


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
        _holding.clear()
    if came:
        signal.raise_signal(came[0])


@contextmanager
def interruptible(abandon: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, once; later ones are ignored, so that cleaning up goes undisturbed.

    ``abandon`` is called, from another thread, where a call into native code keeps the main thread from noticing; the
    process then ends with exit code 130.
    """
    if not _is_main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    def notice(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is not KeyboardInterrupt:
            old_hook(lost)
            return
        for number in SIGNALS:
            signal.signal(number, interrupt)
        _lost.set()  # the watching thread sends the signal once more

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    old_hook, sys.unraisablehook = sys.unraisablehook, notice
    before = [(number, signal.signal(number, interrupt) or signal.SIG_DFL) for number in SIGNALS]
    old_writer = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, abandon), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(old_writer)
        sys.unraisablehook = old_hook
        with suppress(OSError):
            os.close(writer)  # ends the thread
        for number, handler in before:
            signal.signal(number, handler)


def _watch(reader: int, abandon: Callable[[], None]) -> None:
    came = os.read(reader, 1)
    deadline = time.monotonic() + GRACE
    while came and (_holding.is_set() or time.monotonic() < deadline):
        time.sleep(0.05)
        if _lost.is_set():
            _lost.clear()
            signal.raise_signal(signal.SIGINT)
        os.set_blocking(reader, False)
        with suppress(BlockingIOError):
            came = os.read(reader, 1)  # empty once the writer is closed: the main thread has ended the job
    os.close(reader)
    if came:
        abandon()
        os._exit(130)

"""The execution provider: registered once, then part of any session whose options ask for it."""

from __future__ import annotations

import os
import threading
from typing import Any

from onnxsqueeze.errors import RuntimeUnavailable, SqueezeError
from onnxsqueeze.runtime import native
from onnxsqueeze.runtime.profile import read_profile

NAME = "SqueezeExecutionProvider"
OLDEST = (1, 23, 1)  # onnxruntime whose plugin providers work
BY_NAME = (1, 25, 1)  # onnxruntime that takes them as ``providers=[NAME]``; older ones pass over them in silence
KERNELS = ("auto", "always", "never")
USED = "onnxsqueeze.used"  # an entry of session options that we have added to

_lock = threading.Lock()
_registered = False


def is_available() -> bool:
    """Whether this onnxruntime takes plugin providers."""
    return _release() >= OLDEST


def register() -> None:
    """Makes ``InferenceSession(path, providers=["SqueezeExecutionProvider"])`` work in this process.

    Options go with the name: ``providers=[("SqueezeExecutionProvider", {"kernel": "always"})]``; they are those of
    ``session_options``, which works with older releases, too.

    Raises:
        RuntimeUnavailable: onnxruntime is too old, or the native library is missing.
    """
    import onnxruntime

    if _release() < BY_NAME:
        raise RuntimeUnavailable(
            f"onnxruntime {onnxruntime.__version__} takes no plugin provider by its name (1.25.1 and later do): open "
            "models with onnxsqueeze.runtime.load(path), or give the session onnxsqueeze.runtime.session_options()"
        )
    _register_library()


def _release() -> tuple[int, ...]:
    import onnxruntime

    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:3] if part.isdigit())


def _register_library() -> None:
    """Makes the provider known to onnxruntime; only the first call of a process does anything.

    It is never unregistered: that would take the code away from under living sessions.
    """
    global _registered
    import onnxruntime

    if not is_available():
        raise RuntimeUnavailable(
            f"onnxruntime {onnxruntime.__version__} takes no plugin providers; upgrade it to 1.23.1 or later"
        )
    with _lock:
        if not _registered:
            onnxruntime.register_execution_provider_library(NAME, str(native.library_path()))
            _registered = True


def refuse_used(sess_options: Any) -> None:
    """Weights and the provider stay in session options: a second session would have those of the first.

    Raises:
        SqueezeError: something was added to these options before.
    """
    try:
        sess_options.get_session_config_entry(USED)
    except RuntimeError:  # there is no such entry
        return
    raise SqueezeError(
        "these session options serve one session, and load or session_options has prepared them before: make new "
        "onnxruntime.SessionOptions() for each session"
    )


def mark_used(sess_options: Any) -> None:
    """Before the first thing is added to them."""
    sess_options.add_session_config_entry(USED, "1")


def session_options(
    sess_options: Any = None,
    *,
    kernel: str = "auto",
    skip_zeros: bool | None = None,
    profile: str | None = None,
    account: str | os.PathLike[str] | None = None,
) -> Any:
    """Options of a session that runs packed weights natively where that is faster.

    Args:
        sess_options: ``onnxruntime.SessionOptions`` to add the provider to; None for new ones. They serve one session:
            give new ones to each call, and none of these to ``onnxsqueeze.runtime.load``, which adds it itself.
        kernel: "auto" takes what runs faster on this machine, "always" all that there is a kernel for, "never" none.
        skip_zeros: whether sparse products with up to 3 rows of input skip the input's zeros, too. That is faster only
            where most are zero; None for behind ThresholdedRelu (see the pass fatrelu), when there are enough.
        profile: what "auto" goes by (see ``onnxsqueeze.runtime.profile``); None for what
            ``onnxsqueeze.bench.calibrate`` has measured on this machine, or else a careful guess; "" for that guess.
        account: file to which a line of JSON is added for each packed weight: which kernel runs it, or why none does.

    Raises:
        RuntimeUnavailable: onnxruntime is older than 1.23.1, or the native library is missing.
        SqueezeError: these options were given to a call before.
        ValueError: ``kernel`` or ``skip_zeros`` is none of these.
    """
    import onnxruntime

    check_kernel(kernel)
    if skip_zeros not in (None, True, False):
        raise ValueError(f"skip_zeros must be None, True or False, not {skip_zeros!r}")
    options = sess_options if sess_options is not None else onnxruntime.SessionOptions()
    refuse_used(options)
    _register_library()
    mark_used(options)
    add_provider(options, kernel, skip_zeros, profile, account)
    return options


def check_kernel(kernel: str) -> None:
    """Raises ValueError where it is none."""
    if kernel not in KERNELS:
        raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not '{kernel}'")


def add_provider(
    options: Any,
    kernel: str,
    skip_zeros: bool | None = None,
    profile: str | None = None,
    account: str | os.PathLike[str] | None = None,
) -> None:
    """As ``session_options``, of whose arguments these are, but changes options that are marked as used."""
    import onnxruntime

    _register_library()
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == NAME]
    options.add_provider_for_devices(devices[:1], {})
    chosen = {
        "kernel": kernel,
        "skip_zeros": "auto" if skip_zeros is None else str(int(skip_zeros)),
        "profile": read_profile() if profile is None else profile,
    }
    if account is not None:
        chosen["account"] = os.fspath(account)
    for name, value in chosen.items():
        if value:
            options.add_session_config_entry(f"ep.{NAME.lower()}.{name}", value)

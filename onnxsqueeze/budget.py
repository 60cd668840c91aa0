"""What a user asks for, beside a pipeline: at most so much loss, so many bytes, or so much of a device."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxsqueeze.errors import ModelError, PipelineError

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

ON_DEVICE = {"target_latency": "seconds", "target_energy": "joules", "target_macs": "macs"}
TARGETS = ("max_loss", "target_size", "target_ratio", *ON_DEVICE)
PREFIXES = {"G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)\s*([GMkmuµn]?)(s|J|MACs)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b)?", re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)\s*%")


@dataclass(frozen=True)
class Budget:
    """One of: the share of the outputs that may be lost, bytes of the file, dense bytes over compressed ones, or what a
    run may take on a device as the cost model has it: seconds, joules, multiply-accumulates (up to 1: a share of them).

    ``score``: ``module:function`` that takes the path of a model and gives a number, the higher the better; the loss is
    then the share of the original's score that is lost. ``device``: a profile's name or file.
    """

    max_loss: float | None = None
    target_size: int | None = None
    target_ratio: float | None = None
    score: str = ""
    target_latency: float | None = None
    target_energy: float | None = None
    target_macs: float | None = None
    device: str = ""

    def __post_init__(self) -> None:
        given = [name for name in TARGETS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PipelineError(f"a budget is one of {', '.join(TARGETS)}; give one of them")
        if self.max_loss is not None and not 0 < self.max_loss < 1:
            raise PipelineError(f"max_loss must be above 0 and below 1, not {self.max_loss:g}; 0.01 is 1 %")
        if self.target_size is not None and self.target_size < 1:
            raise PipelineError(f"target_size must be at least 1 byte, not {self.target_size}")
        if self.target_ratio is not None and not 1 < self.target_ratio < 1e6:
            raise PipelineError(f"target_ratio must be above 1, not {self.target_ratio:g}; 10 is a tenth of the size")
        for name in ON_DEVICE:
            if (value := getattr(self, name)) is not None and not 0 < value < float("inf"):
                raise PipelineError(f"{name} must be above 0, not {value:g}")
        self._check_companions()

    def _check_companions(self) -> None:
        on_device = any(getattr(self, name) is not None for name in ON_DEVICE)
        if self.device and not on_device:
            raise PipelineError("a device goes with target_latency, target_energy or target_macs")
        if self.score and on_device:
            raise PipelineError("a score goes with max_loss, target_size or target_ratio")
        if set(self.device) & set(" ,{}"):
            raise PipelineError(f"the device '{self.device}' must be named without spaces, commas and braces")

    def most(self, original_nbytes: int) -> int | None:
        """Bytes that the file may take; None where that is left open."""
        return int(original_nbytes / self.target_ratio) if self.target_ratio else self.target_size

    def passes(self, original_nbytes: int) -> str:
        """The pipeline that meets it."""
        for name, option in ON_DEVICE.items():
            if (value := getattr(self, name)) is not None:
                device = f" device={self.device}" if self.device else ""
                return f"fold,adapt{{{option}={value:.10g}{device}}},huffman"
        size = self.most(original_nbytes)
        asked = f"loss={self.max_loss:.10g}" if size is None else f"size={size}"
        return f"fold,allocate{{{asked}{f' score={self.score}' if self.score else ''}}},huffman"

    def confirm(self, original_nbytes: int, nbytes: int) -> None:
        """Raises ModelError where a file is larger than asked for."""
        most = self.most(original_nbytes)
        if most is not None and nbytes > most:
            raise ModelError(f"the file takes {nbytes:,} bytes, more than the {most:,} asked for; nothing was written")


def share(text: str) -> float:
    """Reads ``1%`` or ``0.01``; raises ValueError with a sentence for the user."""
    match = _SHARE.fullmatch(text.strip())
    try:
        value = float(match[1]) / 100 if match else float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ValueError(f"must be a share above 0 and below 1, such as 1% or 0.01, not '{text}'")
    return value


def nbytes(text: str) -> int:
    """Reads ``3MB``, ``500 kB`` or ``3000000``; raises ValueError with a sentence for the user."""
    match = _SIZE.fullmatch(text.strip())
    value = int(float(match[1]) * UNITS[(match[2] or "").lower()]) if match else 0
    if value < 1:
        raise ValueError(f"must be a size such as 3MB, 500kB or 3000000, not '{text}'")
    return value


def seconds(text: str) -> float:
    """Reads ``5ms`` or ``0.005``; raises ValueError with a sentence for the user."""
    return _quantity(text, "s", "a time such as 5ms, 200us or 0.005")


def joules(text: str) -> float:
    """Reads ``2mJ`` or ``0.002``; raises ValueError with a sentence for the user."""
    return _quantity(text, "J", "an energy such as 2mJ or 0.002")


def macs(text: str) -> float:
    """Reads ``50%`` as 0.5, ``100M`` or ``100000000`` as a number; raises ValueError with a sentence for the user."""
    if _SHARE.fullmatch(text.strip()):
        return share(text)
    found = _quantity(text, "MACs", "a share such as 50% or a number such as 100M")
    if found <= 1:
        raise ValueError(f"must be a share such as 50% or a number such as 100M, not '{text}'")
    return found


def _quantity(text: str, unit: str, wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    value = float(match[1]) * PREFIXES[match[2]] if match and match[3] in (None, unit) else 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"must be {wanted}, not '{text}'")
    return value

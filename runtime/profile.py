"""What was measured of the kernels on this machine, kept in the user's cache folder.

A profile is a line of text, ``name=number,...``, that the provider takes as its option ``profile``. The numbers say
from which share of zeros on its sparse kernels are faster than onnxruntime's dense ones (above 1: never), and up to
how many bits products with shared weights are:

| name | of |
|---|---|
| vector, few, many | MatMul and Gemm with up to 3 rows of input, up to 47, more |
| pointwise, spatial | Conv with kernels of one position, of several |
| cached, shared_cached | as vector and shared_vector, with so few weights (below 327,680) that a cache holds them |
| shared_vector, shared_few | MatMul and Gemm with shared weights and up to 4 rows of input, up to 8 |
| skipping | inputs of sparse products of up to 3 rows: from this share of zeros on they are skipped, too |
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
from pathlib import Path

from onnxsqueeze.runtime import native

SPARSE = ("vector", "cached", "few", "many", "pointwise", "spatial")
SHARED = ("shared_vector", "shared_cached", "shared_few")
SKIPPING = "skipping"
NAMES = (*SPARSE, *SHARED, SKIPPING)
VERSION = 5  # of the kernels and how they are measured: another one makes older measurements void


def cache_folder() -> Path:
    """$ONNXSQUEEZE_CACHE, else $XDG_CACHE_HOME/onnxsqueeze, else ~/.cache/onnxsqueeze."""
    if own := os.environ.get("ONNXSQUEEZE_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "onnxsqueeze"


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def profile_path() -> Path:
    """Where the profile of this processor, instruction set and onnxruntime belongs."""
    import onnxruntime

    machine = f"{processor()}|{native.isa()}|{onnxruntime.__version__}|{VERSION}"
    return cache_folder() / f"kernels-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.txt"


def read_profile() -> str:
    """The measured profile; "" where there is none, or none that can be read."""
    try:
        text = profile_path().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _is_profile(text) else ""


def write_profile(numbers: dict[str, float]) -> str:
    """Keeps a profile, and returns its text."""
    text = ",".join(f"{name}={number:g}" for name, number in numbers.items())
    path = profile_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
    return text


def _is_profile(text: str) -> bool:
    """Whether a file still holds what was written; the provider refuses what it does not know."""
    try:
        numbers = {name: float(number) for name, number in (item.split("=") for item in text.split(","))}
    except ValueError:
        return False
    return set(numbers) == {*NAMES} and all(map(math.isfinite, numbers.values()))

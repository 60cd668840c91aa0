"""Devices: peaks, efficiencies and memories, each constant with its source, from TOML files."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from onnxsqueeze.cost.energy import EnergyTable, energy_table
from onnxsqueeze.errors import DeviceError

PRODUCTS = ("gemm", "gemv", "conv1x1", "conv", "stem", "depthwise", "im2col", "conv_transpose", "recurrent")
ELEMENTWISE = ("elementwise", "transcendental", "softmax", "normalization", "pool", "reduce", "resize", "cubic")
MOVES = ("transpose", "move", "gather", "layout")
KINDS = (*PRODUCTS, *ELEMENTWISE, *MOVES)
"""Kinds of nodes: what their speed depends on (``operators.py`` sorts nodes into them)."""

DECODERS = ("read", "unpack", "huffman", "lookup", "scale", "scatter", "fill", "group")
"""Steps of decoding a packed weight when a model is opened (``decoding.py``)."""

DEFAULT = "generic-cpu"
_SUFFIX = ".toml"
_REQUIRED = {
    "compute": ("float32",),
    "memory": ("dram_bandwidth", "sram_bytes", "storage_bandwidth"),
    "efficiency": ("default",),
    "overhead": ("node",),
}
_OPTIONAL = {
    "compute": ("float16", "int8", "register_tile", "bits"),
    "memory": ("sram_bandwidth", "cache_bytes", "cache_bandwidth", "overlap"),
    "efficiency": (*KINDS, "dram", "storage"),
    "overhead": (*KINDS, "run"),
    "sparse": (
        "kept",
        "group",
        "peak",
        "efficiency",
        "activation_density",
        "csr",
        "csr_matrix",
        "csr_conv",
        "csr_gather",
    ),
    "decode": DECODERS,
    "energy": ("register", "sram", "dram"),
}
_MAY_BE_ZERO = ("overhead.", "memory.overlap", "memory.sram_bytes")
_LIKE = {"im2col": "conv"}  # where a profile does not tell them apart
_FLAGS = ("skips_zero_weights", "skips_zero_activations", "reads_packed")


@dataclass(frozen=True)
class Constant:
    """One number of a profile and where it comes from."""

    value: float
    source: str


@dataclass(frozen=True)
class Device:
    """A machine that runs models; rates are MACs and bytes a second, efficiencies shares of the peak."""

    name: str
    description: str
    energy: EnergyTable
    constants: Mapping[str, Constant]  # "section.key", e.g. "memory.dram_bandwidth"
    skips_zero_weights: bool = False  # no work, and no energy, for weights that are zero
    skips_zero_activations: bool = False
    reads_packed: bool = False  # streams weights as they lie in the file; others decode them when a model is opened

    def __getitem__(self, key: str) -> float:
        """The value of a constant, e.g. ``device["memory.sram_bytes"]``; KeyError where it has none."""
        return self.constants[key].value

    def get(self, key: str, default: float) -> float:
        """The value of a constant, or the default."""
        return self.constants[key].value if key in self.constants else default

    def peak(self, bits: int) -> float:
        """Peak MACs a second with values of so many bits."""
        wider = [kind for kind, width in (("int8", 8), ("float16", 16)) if width >= bits]
        found = [self["compute." + kind] for kind in wider if "compute." + kind in self.constants]
        return found[0] if found else self["compute.float32"] * (0.5 if bits > 32 else 1.0)

    def efficiency(self, kind: str) -> float:
        """Share of the peak that nodes of a kind reach."""
        kind = kind if "efficiency." + kind in self.constants else _LIKE.get(kind, kind)
        return self.get("efficiency." + kind, self["efficiency.default"])

    def overhead(self, kind: str) -> float:
        """Seconds that a node of a kind takes beside its work."""
        return self.get("overhead." + kind, self["overhead.node"])


def devices() -> list[str]:
    """Names of the profiles that come with the package."""
    folder = files("onnxsqueeze.cost") / "devices"
    return sorted(item.name.removesuffix(_SUFFIX) for item in folder.iterdir() if item.name.endswith(_SUFFIX))


def load_device(name_or_path: str | Path = DEFAULT) -> Device:
    """A profile by name (``"a100-2:4"`` is the file ``a100-2-4``), or from a TOML file; raises DeviceError."""
    text, origin = _read(str(name_or_path))
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"device profile '{origin}' is no TOML: {error}") from None
    return _device(table, origin)


def _read(name: str) -> tuple[str, str]:
    known, plain = devices(), name.replace(":", "-")
    if plain in known:
        return (files("onnxsqueeze.cost") / "devices" / (plain + _SUFFIX)).read_text(encoding="utf-8"), name
    path = Path(name)
    if not path.is_file():
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}, or name a TOML file"
        raise DeviceError(f"unknown device '{name}'; {hint}")
    try:
        return path.read_text(encoding="utf-8"), name
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceError(f"device profile '{name}' cannot be read: {error}") from None


def _device(table: dict[str, Any], origin: str) -> Device:
    unknown = set(table) - {*_REQUIRED, *_OPTIONAL, *_FLAGS, "name", "description"}
    if unknown:
        raise DeviceError(f"device profile '{origin}' has an unknown entry '{min(unknown)}'")
    constants: dict[str, Constant] = {}
    for section in sorted({*_REQUIRED, *_OPTIONAL}):
        for key, entry in _section(table, section, origin).items():
            constants[f"{section}.{key}"] = _constant(entry, f"{section}.{key}", origin)
    for section, keys in _REQUIRED.items():
        if missing := [key for key in keys if f"{section}.{key}" not in constants]:
            raise DeviceError(f"device profile '{origin}' lacks '{section}.{missing[0]}'")
    name, description = _text(table, "name", origin), _text(table, "description", origin)
    energies = _text(table.get("energy", {}), "table", origin)
    words = {f"word.{key}": constants[f"energy.{key}"] for key in _OPTIONAL["energy"] if f"energy.{key}" in constants}
    energy = energy_table(energies or "45nm").replaced({key: (c.value, c.source) for key, c in words.items()})
    flags = {key: _flag(table, key, origin) for key in _FLAGS}
    return Device(name or Path(origin).stem, description, energy, constants, **flags)


def _text(table: dict[str, Any], key: str, origin: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise DeviceError(f"device profile '{origin}': '{key}' must be a text")
    return value


def _flag(table: dict[str, Any], key: str, origin: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise DeviceError(f"device profile '{origin}': '{key}' must be true or false")
    return value


def _section(table: dict[str, Any], section: str, origin: str) -> dict[str, Any]:
    entries = table.get(section, {})
    if not isinstance(entries, dict):
        raise DeviceError(f"device profile '{origin}': '{section}' must be a table")
    known = {*_REQUIRED.get(section, ()), *_OPTIONAL.get(section, ())}
    entries = {key: entry for key, entry in entries.items() if (section, key) != ("energy", "table")}
    if unknown := sorted(set(entries) - known):
        close = get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean '{section}.{close[0]}'?" if close else ""
        raise DeviceError(f"device profile '{origin}' has an unknown constant '{section}.{unknown[0]}'{hint}")
    return entries


def _constant(entry: Any, key: str, origin: str) -> Constant:
    value = entry.get("value") if isinstance(entry, dict) else None
    source = entry.get("source") if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(source, str) or not source:
        raise DeviceError(f"device profile '{origin}': '{key}' must be {{ value = NUMBER, source = \"TEXT\" }}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not key.startswith(_MAY_BE_ZERO)):
        raise DeviceError(f"device profile '{origin}': '{key}' is {value}, which is not positive")
    return Constant(float(value), source)

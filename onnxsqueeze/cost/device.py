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

KINDS = (
    "gemm",
    "gemv",
    "conv1x1",
    "conv",
    "stem",
    "depthwise",
    "recurrent",
    "elementwise",
    "transcendental",
    "normalization",
    "pool",
    "reduce",
    "move",
    "gather",
)
"""Kinds of nodes: what their speed depends on (``operators.py`` sorts nodes into them)."""

DEFAULT = "generic-cpu"
_SUFFIX = ".toml"
_SECTIONS = {
    "compute": ("float32",),
    "memory": ("dram_bandwidth", "sram_bytes", "storage_bandwidth"),
    "efficiency": ("default",),
    "overhead": ("node",),
}
_OPTIONAL = {
    "compute": ("float16", "int8", "int16", "register_tile"),
    "memory": ("sram_bandwidth",),
    "efficiency": (*KINDS, "dram", "storage"),
    "overhead": ("open", "open_node"),
    "sparse": ("peak", "efficiency", "kept", "group", "activation_density"),
}
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
        wider = [kind for kind, width in (("int8", 8), ("int16", 16), ("float16", 16)) if width >= bits]
        found = [self["compute." + kind] for kind in wider if "compute." + kind in self.constants]
        return found[0] if found else self["compute.float32"] * (0.5 if bits > 32 else 1.0)

    def efficiency(self, kind: str) -> float:
        """Share of the peak that nodes of a kind reach."""
        return self.get("efficiency." + kind, self["efficiency.default"])


def devices() -> list[str]:
    """Names of the profiles that come with the package."""
    folder = files("onnxsqueeze.cost") / "devices"
    return sorted(item.name.removesuffix(_SUFFIX) for item in folder.iterdir() if item.name.endswith(_SUFFIX))


def load_device(name_or_path: str | Path = DEFAULT) -> Device:
    """A profile by name, or from a TOML file; raises DeviceError."""
    text, origin = _read(str(name_or_path))
    try:
        return _device(tomllib.loads(text), origin)
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"device profile '{origin}' is no TOML: {error}") from None


def _read(name: str) -> tuple[str, str]:
    known = devices()
    if name in known:
        return (files("onnxsqueeze.cost") / "devices" / (name + _SUFFIX)).read_text(encoding="utf-8"), name
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
    constants: dict[str, Constant] = {}
    for section in {*_SECTIONS, *_OPTIONAL}:
        for key, entry in _section(table, section, origin).items():
            constants[f"{section}.{key}"] = _constant(entry, f"{section}.{key}", origin)
    for section, keys in _SECTIONS.items():
        for key in keys:
            if f"{section}.{key}" not in constants:
                raise DeviceError(f"device profile '{origin}' lacks '{section}.{key}'")
    unknown = set(table) - {*_SECTIONS, *_OPTIONAL, *_FLAGS, "name", "description", "energy"}
    if unknown:
        raise DeviceError(f"device profile '{origin}' has an unknown entry '{min(unknown)}'")
    flags = {key: table.get(key, False) for key in _FLAGS}
    for key, value in {**{k: table.get(k, "") for k in ("name", "description", "energy")}}.items():
        if not isinstance(value, str):
            raise DeviceError(f"device profile '{origin}': '{key}' must be a text")
    for key, flag in flags.items():
        if not isinstance(flag, bool):
            raise DeviceError(f"device profile '{origin}': '{key}' must be true or false")
    name = table.get("name") or Path(origin).stem
    energy = energy_table(table.get("energy") or "45nm")
    return Device(name, table.get("description", ""), energy, constants, **flags)


def _section(table: dict[str, Any], section: str, origin: str) -> dict[str, Any]:
    entries = table.get(section, {})
    if not isinstance(entries, dict):
        raise DeviceError(f"device profile '{origin}': '{section}' must be a table")
    known = {*_SECTIONS.get(section, ()), *_OPTIONAL.get(section, ())}
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
    if not (math.isfinite(value) and (value > 0 or (value == 0 and not key.startswith("compute")))):
        raise DeviceError(f"device profile '{origin}': '{key}' is {value}, which is not positive")
    return Constant(float(value), source)

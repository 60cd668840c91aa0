"""Energy tables: joules per operation and per word moved, by name."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from onnxsqueeze.errors import DeviceError

PICO = 1e-12


@dataclass(frozen=True)
class EnergyTable:
    """Energies in picojoules: operations by type, accesses by level for a word of 32 bits."""

    name: str
    description: str
    picojoules: Mapping[str, float]  # e.g. "float32.multiply", "word.dram"
    sources: Mapping[str, str]

    def mac(self, bits: int, floating: bool = True) -> float:
        """Joules of one multiplication and one addition to its sum."""
        if bits <= 8:  # sums of 8-bit products are held in 32 bits
            return PICO * (self.picojoules["int8.multiply"] + self.picojoules["int32.add"])
        kind = ("float16" if bits <= 16 else "float32") if floating else "int32"
        wide = 2 if bits > 32 else 1
        return PICO * wide * (self.picojoules[kind + ".multiply"] + self.picojoules[kind + ".add"])

    def operation(self, bits: int, floating: bool = True) -> float:
        """Joules of one other operation, taken as an addition."""
        kind = ("float16" if bits <= 16 else "float32") if floating else ("int8" if bits <= 8 else "int32")
        return PICO * (2 if bits > 32 else 1) * self.picojoules[kind + ".add"]

    def access(self, level: str) -> float:
        """Joules per byte read from or written to a level: "register", "sram" or "dram"."""
        return PICO * self.picojoules["word." + level] / 4

    def replaced(self, words: Mapping[str, tuple[float, str]]) -> EnergyTable:
        """The table with some numbers, and their sources, of a device's own."""
        values = {**self.picojoules, **{key: value for key, (value, _) in words.items()}}
        sources = {**self.sources, **{key: source for key, (_, source) in words.items()}}
        return EnergyTable(self.name, self.description, values, sources)


def energy_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(_tables())


def energy_table(name: str) -> EnergyTable:
    """A table by name; raises DeviceError."""
    tables = _tables()
    if name not in tables:
        raise DeviceError(f"unknown energy table '{name}'; choose one of {', '.join(sorted(tables))}")
    content = tables[name]
    values: dict[str, float] = {}
    sources: dict[str, str] = {}
    for section, entries in content.items():
        if isinstance(entries, dict):
            for key, entry in entries.items():
                values[f"{section}.{key}"] = float(entry["value"])
                sources[f"{section}.{key}"] = entry["source"]
    return EnergyTable(name, str(content["description"]), values, sources)


def _tables() -> dict[str, dict[str, object]]:
    text = (files("onnxsqueeze.cost") / "energies.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)

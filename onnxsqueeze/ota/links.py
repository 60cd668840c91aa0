"""Links and app stores: what a download costs on each, and which sizes are limits (links.toml, stores.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from onnxsqueeze.errors import ModelError


@dataclass(frozen=True)
class Link:
    """A way to a device."""

    name: str
    description: str
    rate: float  # bits a second
    power: float  # watts of the device while it receives
    tail: float  # joules after each download
    sources: tuple[str, ...]
    date: str  # when the numbers were entered

    def seconds(self, nbytes: int) -> float:
        """Time of a download."""
        return 8 * nbytes / self.rate

    def joules(self, nbytes: int) -> float:
        """Energy of the device for a download."""
        return self.seconds(nbytes) * self.power + self.tail


@dataclass(frozen=True)
class Limit:
    """A size that an app store sets."""

    name: str
    what: str
    nbytes: int
    source: str
    date: str


@cache
def links() -> dict[str, Link]:
    """All links, by name."""
    found = {}
    for name, entry in _table("links.toml").items():
        rate, power, tail = (entry[key] for key in ("rate", "power", "tail"))
        sources = tuple(f"{key}: {entry[key]['source']}" for key in ("rate", "power", "tail"))
        values = (float(rate["value"]), float(power["value"]), float(tail["value"]))
        found[name] = Link(name, entry["description"], *values, sources, entry["date"])
    return found


@cache
def limits() -> tuple[Limit, ...]:
    """All limits, smallest first."""
    found = [Limit(name, **entry) for name, entry in _table("stores.toml").items()]
    return tuple(sorted(found, key=lambda limit: limit.nbytes))


def chosen(names: Sequence[str]) -> tuple[Link, ...]:
    """The links of these names, all where there are none; raises ModelError for an unknown one."""
    known = links()
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"
            raise ModelError(f"unknown link '{name}'; {hint}")
    return tuple(known[name] for name in names or known)


def _table(name: str) -> dict[str, dict[str, Any]]:
    return tomllib.loads(files("onnxsqueeze.ota").joinpath(name).read_text(encoding="utf-8"))

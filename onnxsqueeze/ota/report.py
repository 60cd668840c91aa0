"""What an update saves: bytes, time and energy on each link, money over a fleet, and which tensors changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from onnxsqueeze.errors import FormatError
from onnxsqueeze.ota.bundle import Bundle, read
from onnxsqueeze.ota.diff import make
from onnxsqueeze.ota.items import Item
from onnxsqueeze.ota.links import Limit, Link, chosen, limits
from onnxsqueeze.ota.opened import Opened, find_old, open_bundle
from onnxsqueeze.ota.wire import Irregular
from onnxsqueeze.ota.zstd import LEVEL

GIGABYTE = 10**9


@dataclass(frozen=True)
class Way:
    """One way to send the new model."""

    name: str  # full, compressed or delta
    nbytes: int


@dataclass(frozen=True)
class Cost:
    """What one way costs over one link, for one device."""

    link: str
    way: str
    seconds: float
    joules: float


@dataclass(frozen=True)
class Bill:
    """What one way costs over the whole fleet."""

    way: str
    gigabytes: float
    price: float | None  # None where no price a gigabyte is given


@dataclass(frozen=True)
class Change:
    """What became of one tensor."""

    name: str
    status: str  # unchanged, changed, new or removed
    shape: tuple[int, ...]
    nbytes: int  # in the new model; of a removed tensor, in the old one
    share: float | None  # of the elements that changed; None where they cannot be compared
    distance: float | None  # norm of the difference over that of the old tensor


@dataclass(frozen=True)
class Report:
    """All of it."""

    old: str
    new: str
    ways: tuple[Way, ...]
    links: tuple[Link, ...]
    costs: tuple[Cost, ...]
    fleet: int
    bills: tuple[Bill, ...]
    limits: tuple[Limit, ...]
    changes: tuple[Change, ...]


def report(
    old: str | os.PathLike[str],
    new: str | os.PathLike[str],
    links: Sequence[str] = (),
    fleet: int = 1,
    price_per_gb: float | None = None,
) -> Report:
    """Compares three ways to bring a device from ``old`` to ``new``: the file, the file under zstandard, an update.

    Args:
        old: the model that is installed.
        new: the model that takes its place.
        links: names of links.toml; all of them where there are none.
        fleet: devices.
        price_per_gb: money a gigabyte (10**9 bytes) that is sent.

    Raises:
        SqueezeError: for models that cannot be read, and for unknown links.
    """
    over = chosen(links)
    before, after = read(Path(old)), read(Path(new))
    packed = len(zstandard.ZstdCompressor(level=LEVEL).compress(after.joined()))
    ways = (Way("full", after.nbytes), Way("compressed", packed), Way("delta", len(make(before, after))))
    costs = tuple(
        Cost(link.name, way.name, link.seconds(way.nbytes), link.joules(way.nbytes)) for link in over for way in ways
    )
    bills = tuple(_bill(way, fleet, price_per_gb) for way in ways)
    return Report(str(old), str(new), ways, over, costs, fleet, bills, limits(), changes(before, after))


def _bill(way: Way, fleet: int, price: float | None) -> Bill:
    gigabytes = way.nbytes * fleet / GIGABYTE
    return Bill(way.name, gigabytes, None if price is None else gigabytes * price)


def changes(old: Bundle, new: Bundle) -> tuple[Change, ...]:
    """What became of each tensor of 64 bytes or more; none where an update cannot take a file apart."""
    try:
        before, after = open_bundle(old), open_bundle(new)
    except Irregular:
        return ()
    found, followed = [], set()
    pairs = zip(after.layout.items, find_old(after, before), strict=True)
    for item, number in pairs:
        followed.add(number)
        found.append(_change(item, after, None if number is None else before.layout.items[number], before))
    for number, item in enumerate(before.layout.items):
        if number not in followed:
            found.append(Change(item.name, "removed", item.shape, _nbytes(item, before), None, None))
    return tuple(found)


def _change(item: Item, after: Opened, old: Item | None, before: Opened) -> Change:
    nbytes = _nbytes(item, after)
    if old is None:
        return Change(item.name, "new", item.shape, nbytes, None, None)
    if [before.contents[h] for h in old.places()] == [after.contents[h] for h in item.places()]:
        return Change(item.name, "unchanged", item.shape, nbytes, 0.0, 0.0)
    share, distance = _difference(item, after, old, before)
    return Change(item.name, "changed", item.shape, nbytes, share, distance)


def _difference(item: Item, after: Opened, old: Item, before: Opened) -> tuple[float | None, float | None]:
    """The share of elements that differ and, for floats, the relative norm of the difference."""
    try:
        now, then = after.values(item), before.values(old)
    except FormatError:
        return None, None
    if now.shape != then.shape or now.dtype != then.dtype or now.size == 0:
        return None, None
    share = float(np.mean(now != then))
    if now.dtype.kind != "f" or not (np.isfinite(now).all() and np.isfinite(then).all()):
        return share, None
    norm = float(np.linalg.norm(then.astype(np.float64)))
    return share, float(np.linalg.norm(now.astype(np.float64) - then)) / norm if norm else None


def _nbytes(item: Item, opened: Opened) -> int:
    return sum(len(opened.contents[hole]) for hole in item.places())

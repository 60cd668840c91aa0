"""The method that knows what a model is: skeletons by zstd, weights given older ones (UPDATE.md, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze.errors import FormatError
from onnxsqueeze.model.save import varint
from onnxsqueeze.ota import blob, exchange, items, wire, zstd
from onnxsqueeze.ota.bundle import Bundle
from onnxsqueeze.ota.container import Reader, Section, Target
from onnxsqueeze.ota.copies import Source
from onnxsqueeze.ota.exchange import NOTHING, Coder, Older
from onnxsqueeze.ota.forms import Kind, form_of, pieces
from onnxsqueeze.ota.items import Item, Layout, Packed, Plain
from onnxsqueeze.ota.opened import Opened, element_type, find_old, join_external, open_bundle
from onnxsqueeze.runtime.delta import Decoder, Encoder

Array = npt.NDArray[Any]

SAME, DELTA, RAW = 0, 1, 2  # what becomes of an item: the old one's bytes, coded given the old one, as it is
SAMPLE = 1 << 18  # elements that a trial codes
SECTIONS = 6  # skeleton, fillers, plan, raw, coded, plain


@dataclass(frozen=True)
class Step:
    """What becomes of one item."""

    mode: int
    old: int | None  # the item that it follows


def make(old: Bundle, new: Bundle, source: Source) -> tuple[tuple[Section, ...], list[Step]]:
    """The sections of an update, and what becomes of each item; raises Irregular for files that it cannot take.

    ``source`` holds the old files.
    """
    before, after = open_bundle(old), open_bundle(new)
    encoder, steps, raw = Encoder(), [], bytearray()
    for item, number in zip(after.layout.items, find_old(after, before), strict=True):
        step = _step(item, number, before, after)
        steps.append(step)
        if step.mode == DELTA:
            assert step.old is not None
            _code(encoder, item, after, older(before, step.old))
        elif step.mode == RAW:
            for hole in item.places():
                data = after.contents[hole]
                raw += (varint(len(data)) if after.layout.sizes[hole] is None else b"") + data
    coded, plain = encoder.end()
    plan = _plan(steps, after.layout.items, before.layout.items)
    sections = (
        Section(len(after.skeleton), blob.compress(after.skeleton, Source(before.skeleton))),
        Section(len(after.fillers), blob.compress(after.fillers, Source(before.fillers))),
        Section(len(plan), blob.compress(plan, Source(b""))),
        Section(len(raw), blob.compress(bytes(raw), source)),
        Section(len(coded), coded),
        Section(len(plain), plain),
    )
    return sections, steps


def restore(old: Bundle, targets: Sequence[Target], sections: Sequence[Section]) -> list[bytes]:
    """The new files; raises FormatError."""
    if len(sections) != SECTIONS:
        raise FormatError("the update is damaged: it lacks a section")
    try:
        before = open_bundle(old)
    except wire.Irregular:
        raise FormatError("the update is damaged: it is not for such a file") from None
    skeleton = blob.decompress(sections[0].data, sections[0].nbytes, before.skeleton)
    fillers = blob.decompress(sections[1].data, sections[1].nbytes, before.fillers)
    plan = Reader(blob.decompress(sections[2].data, sections[2].nbytes, b""))
    raw = Reader(blob.decompress(sections[3].data, sections[3].nbytes, old.joined() if sections[3].nbytes else b""))
    found = items.layout(Reader(skeleton))
    room = sum(target.nbytes for target in targets)
    if min(map(_known, found.sizes), default=0) < 0 or sum(map(_known, found.sizes)) > room:
        raise FormatError("the update is damaged: its tensors do not fit into its files")
    decoder = Decoder(bytes(sections[4].data), bytes(sections[5].data))
    contents = _fill(found, before, plan, raw, decoder, room)
    decoder.end()
    if plan.left or raw.left:
        raise FormatError("the update is damaged: a section holds more than is used")
    pending = iter(contents)
    model = wire.assemble(Reader(skeleton), lambda field, nbytes: next(pending))
    regions = contents[len(contents) - len(found.regions) :]
    others = [(target.name, target.nbytes) for target in targets[1:]]
    filler = Reader(fillers)
    files = [model, *join_external(others, regions, found, filler)]
    if filler.left:
        raise FormatError("the update is damaged: bytes belong to no file")
    return files


def _known(size: int | None) -> int:
    return 0 if size is None else size


def _fill(
    found: Layout, before: Opened, plan: Reader, raw: Reader, decoder: Decoder, room: int
) -> list[bytes | memoryview]:
    """The contents of all holes, together at most ``room`` bytes; raises FormatError."""
    contents: list[bytes | memoryview] = [b""] * len(found.sizes)
    names, followed = _names(before.layout.items), set[int | None]()
    for item in found.items:
        step = _read_step(plan, names.get(item.name), len(before.layout.items))
        if step.mode == DELTA and step.old in followed:  # each costs the time that the old one takes
            raise FormatError("the update is damaged: two items follow the same one")
        if step.mode == DELTA:
            followed.add(step.old)
        for hole, data in zip(item.places(), _contents(step, item, found, before, raw, decoder), strict=True):
            room -= len(data)
            if found.sizes[hole] not in (None, len(data)) or room < 0:
                raise FormatError("the update is damaged: a tensor does not have the size of its contents")
            contents[hole] = data
    return contents


def older(before: Opened, number: int) -> Older:
    """The old weight of this number; raises FormatError where it is corrupt."""
    item = before.layout.items[number]
    form = NOTHING
    if isinstance(item, Packed):
        try:
            form = form_of(before.encoded(item))
        except FormatError:
            form = NOTHING
    return Older(before.values(item), form)


def _step(item: Item, number: int | None, before: Opened, after: Opened) -> Step:
    """What costs least for this item."""
    if number is None:
        return Step(RAW, None)
    old = before.layout.items[number]
    places = [before.contents[hole] for hole in old.places()], [after.contents[hole] for hole in item.places()]
    if places[0] == places[1]:
        return Step(SAME, number)
    try:
        pays = _trial(item, after, older(before, number))
    except FormatError:
        pays = False
    return Step(DELTA, number) if pays else Step(RAW, None)


def _trial(item: Item, after: Opened, old: Older) -> bool:
    """Whether coding given the old weight is exact, and smaller."""
    encoder = Encoder()
    _code(encoder, item, after, old)
    nbytes = sum(map(len, encoder.end()))
    if isinstance(item, Packed):
        form = form_of(after.encoded(item))
        if _bytes_of(item, pieces(_kind(item, after.layout), form)) != [after.contents[h] for h in item.places()]:
            return False
    raw = b"".join(after.contents[hole] for hole in item.places())
    return nbytes <= len(zstd.compress(raw, old.values.tobytes(), 3))


def _code(encoder: Encoder, item: Item, after: Opened, old: Older) -> None:
    if isinstance(item, Packed):
        exchange.packed(encoder, form_of(after.encoded(item)), _kind(item, after.layout), old)
    else:
        _plain(encoder, item, after.contents[item.hole], after.layout, old)


def _plain(coder: Coder, item: Plain, data: memoryview | None, found: Layout, old: Older) -> Array:
    nbytes = found.sizes[item.hole]
    if nbytes is None:
        raise FormatError("the update is damaged: contents of unknown size follow older ones")
    dtype = element_type(item.dtype, nbytes)
    values = None if data is None else np.frombuffer(data, dtype)
    return exchange.plain(coder, values, dtype, item.shape, nbytes // np.dtype(dtype).itemsize, old)


def _kind(item: Packed, found: Layout) -> Kind:
    counts = {}
    for name, vector in item.inputs.items():
        size = len(vector.inline) if vector.hole is None else found.sizes[vector.hole] or 0
        counts[name] = size // np.dtype(vector.dtype).itemsize
    return Kind(item.op_type, item.attributes, counts)


def _bytes_of(item: Packed, found: dict[str, Any]) -> list[bytes]:
    """The contents of a packed weight's holes, in their order."""
    inputs = [found[name].tobytes() for name, vector in item.inputs.items() if vector.hole is not None]
    return inputs + [wire.ints_run(found[name]) for name in item.holes]


def _contents(
    step: Step, item: Item, found: Layout, before: Opened, raw: Reader, decoder: Decoder
) -> list[bytes | memoryview]:
    """What fills the holes of an item."""
    places = item.places()
    if step.mode == RAW:
        sizes = [found.sizes[hole] for hole in places]
        return [raw.take(raw.number() if size is None else size) for size in sizes]
    if step.old is None:
        raise FormatError("the update is damaged: an item follows none")
    if step.mode == SAME:
        return [before.contents[hole] for hole in before.layout.items[step.old].places()]
    old = older(before, step.old)
    if isinstance(item, Plain):
        return [_plain(decoder, item, None, found, old).tobytes()]
    kind = _kind(item, found)
    made = pieces(kind, exchange.packed(decoder, None, kind, old))
    if not set(item.holes) <= set(made):
        raise FormatError("the update is damaged: a weight has a list of its own")
    return list(_bytes_of(item, made))


def _plan(steps: Sequence[Step], new: Sequence[Item], old: Sequence[Item]) -> bytes:
    """One number a step: the mode and, where it is not the one of the same name, the item that is followed."""
    out, names = bytearray(), _names(old)
    for step, item in zip(steps, new, strict=True):
        named = step.old is not None and names.get(item.name) == step.old
        out += varint(step.mode | (0 if named or step.old is None else step.old + 1) << 2)
    return bytes(out)


def _read_step(plan: Reader, named: int | None, count: int) -> Step:
    """The next step, for an item whose name the old one ``named`` has, of ``count``."""
    number = plan.number()
    mode, place = number & 3, (number >> 2) - 1
    if mode > RAW or place >= count:
        raise FormatError("the update is damaged: its plan names what is not there")
    if mode == RAW:
        return Step(RAW, None)
    return Step(mode, place if place >= 0 else named)


def _names(old: Sequence[Item]) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, item in enumerate(old):
        found.setdefault(item.name, number)
    return found

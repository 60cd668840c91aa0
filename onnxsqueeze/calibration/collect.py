"""Second moments of the inputs of every weight, collected by running the model on samples."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from onnxsqueeze.calibration.expose import expose
from onnxsqueeze.calibration.matrices import Reading, readings
from onnxsqueeze.calibration.moments import LARGEST, ROWS, Gathering, Moments
from onnxsqueeze.calibration.session import open_session, run
from onnxsqueeze.model.graphs import Key, walk
from onnxsqueeze.pipeline import Silent

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Progress

AT_ONCE = 256 << 20  # bytes of values that one run gives back
SUMS_AT_ONCE = 1 << 30  # bytes of moments that are added up at a time


def collect(
    model: Model,
    feeds: Sequence[Mapping[str, Any]],
    names: set[str] | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[str, Moments]]:
    """The moments of each weight (of ``names``, or all) that a node multiplies with a value, some weights at a time.

    The model runs once a sample and portion of weights: values and moments of a portion fit into memory together.
    Weights that no sample reaches, or in functions, are left out. Raises ModelError where a sample does not run.
    """
    progress = progress or Silent()
    found = readings(model, names)
    with tempfile.TemporaryDirectory(prefix="onnxsqueeze-") as folder:
        path = Path(folder) / "model.onnx"
        model.save(path)
        values, keys = _values(model, found)
        shapes = _shapes(path, keys, values, feeds, threads)
        known = [name for name in found if any(shapes.get(_id(r)) for r in found[name])]
        portions = list(_portions(known, found, shapes))
        progress.start("activations", len(portions) * len(feeds))
        for portion in portions:
            yield from _gather(path, {name: found[name] for name in portion}, values, feeds, threads, progress)
        progress.finish()


Values = Mapping[int, tuple[int, int]]  # of a state reading's node: its place in its graph


def _id(reading: Reading) -> Key:
    """What tells values apart: the key of a value, or the node whose output a state is."""
    return reading.value if reading.value is not None else (-1 - reading.scope, str(id(reading.node)))


def _values(model: Model, found: Mapping[str, list[Reading]]) -> tuple[dict[Key, tuple[int, int]], list[Key]]:
    """Where the nodes are whose first output is a state, and every value that is read."""
    graphs = [scope.graph for scope in walk(model.proto)]
    places: dict[Key, tuple[int, int]] = {}
    keys: dict[Key, None] = {}
    for reading in (r for listed in found.values() for r in listed):
        keys[_id(reading)] = None
        if reading.value is None and _id(reading) not in places:
            nodes = graphs[reading.scope].node
            place = next(i for i, node in enumerate(nodes) if node is reading.node)
            places[_id(reading)] = reading.scope, place
    return places, list(keys)


def _exposed(
    path: Path, keys: Sequence[Key], places: Mapping[Key, tuple[int, int]], sizes: bool
) -> tuple[Path, dict[Key, str]]:
    """The model with these values as its outputs, beside ``path``."""
    proto = ModelProto()
    proto.ParseFromString(path.read_bytes())
    graphs = [scope.graph for scope in walk(proto)]
    wanted: list[Key] = []
    for key in keys:
        if key not in places:
            wanted.append(key)
            continue
        scope, place = places[key]
        node = graphs[scope].node[place]
        if not node.output[0]:
            node.output[0] = f"calibration.state.{scope}.{place}"
        wanted.append((scope, node.output[0]))
    outputs = expose(proto, wanted, sizes)
    target = path.with_name("exposed.onnx")
    target.write_bytes(proto.SerializeToString())
    return target, {key: name for key, name in zip(keys, outputs, strict=True) if name is not None}


def _shapes(
    path: Path,
    keys: Sequence[Key],
    places: Mapping[Key, tuple[int, int]],
    feeds: Sequence[Mapping[str, Any]],
    threads: int,
) -> dict[Key, tuple[int, ...]]:
    """The largest shape of each value over the first two samples, which may take different branches."""
    exposed, outputs = _exposed(path, keys, places, sizes=True)
    session = open_session(exposed, threads)
    shapes: dict[Key, tuple[int, ...]] = {}
    for feed in feeds[:2]:
        for key, shape in zip(outputs, run(session, list(outputs.values()), feed), strict=True):
            now = tuple(int(size) for size in np.reshape(shape, -1))
            if key not in shapes or math.prod(now) > math.prod(shapes[key]):
                shapes[key] = now
    return shapes


def _portions(
    names: Sequence[str], found: Mapping[str, list[Reading]], shapes: Mapping[Key, tuple[int, ...]]
) -> Iterator[list[str]]:
    """Weights whose values and moments fit into memory together; those that read the same value stay together."""
    order = {key: i for i, key in enumerate(shapes)}
    listed = sorted(names, key=lambda name: min(order.get(_id(r), len(order)) for r in found[name]))
    portion: list[str] = []
    held: set[Key] = set()
    nbytes = sums = 0
    for name in listed:
        new = {_id(r) for r in found[name] if _id(r) in shapes} - held
        more, own = sum(4 * math.prod(shapes[key]) for key in new), _sum_nbytes(found[name][0])
        if portion and (nbytes + more > AT_ONCE or sums + own > SUMS_AT_ONCE):
            yield portion
            portion, held, nbytes, sums = [], set(), 0, 0
            new = {_id(r) for r in found[name] if _id(r) in shapes}
            more = sum(4 * math.prod(shapes[key]) for key in new)
        portion.append(name)
        held |= new
        nbytes, sums = nbytes + more, sums + own
    if portion:
        yield portion


def _sum_nbytes(reading: Reading) -> int:
    """About what the moments of a weight and the rows of one sample take."""
    if reading.kind == "rows":
        return 4 * reading.seen[0]
    groups, _, width = reading.matrix(np.broadcast_to(np.int8(0), reading.shape)).shape
    return int(4 * groups * width * (min(width, LARGEST) + ROWS))


def _gather(
    path: Path,
    found: Mapping[str, list[Reading]],
    places: Mapping[Key, tuple[int, int]],
    feeds: Sequence[Mapping[str, Any]],
    threads: int,
    progress: Progress,
) -> Iterator[tuple[str, Moments]]:
    keys = list({_id(r): None for listed in found.values() for r in listed})
    exposed, outputs = _exposed(path, keys, places, sizes=False)
    session = open_session(exposed, threads)
    exposed.unlink()
    gatherings = {name: Gathering(listed[0]) for name, listed in found.items()}
    for feed in feeds:
        values = dict(zip(outputs, run(session, list(outputs.values()), feed), strict=True))
        for name, listed in found.items():
            for reading in listed:
                if _id(reading) in values:
                    gatherings[name].add(values[_id(reading)], reading)
        progress.advance(next(iter(found)))
    for name, gathering in gatherings.items():
        moments = gathering.done()
        if moments is not None:
            yield name, moments

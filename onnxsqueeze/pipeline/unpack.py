"""Back to plain ONNX: every decode node becomes the dense weight that it makes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnx import TensorProto, numpy_helper

from onnxsqueeze.encode import Encoded
from onnxsqueeze.encode.bodies import DOMAIN, VERSION
from onnxsqueeze.encode.decode import decode
from onnxsqueeze.encode.nodes import from_node
from onnxsqueeze.errors import FormatError, ModelError
from onnxsqueeze.model.dense import drop_domain, drop_unused, files_of, inputs_of, replace_nodes
from onnxsqueeze.model.graphs import Scope, walk
from onnxsqueeze.pipeline.operators import to_operators
from onnxsqueeze.pipeline.provided import provided
from onnxsqueeze.pipeline.staging import check_distinct, check_output, data_file, put, staging, writing
from onnxsqueeze.pipeline.stamp import is_inlined
from onnxsqueeze.runtime.profile import read_profile

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import NodeProto

    from onnxsqueeze.model import Model


Hold = Callable[["Scope", str, "npt.NDArray[Any]"], TensorProto]
Decoded = tuple[Encoded, "npt.NDArray[Any]"]

SPREAD_FROM = 1 << 18  # bytes of a packed weight from which on several threads decode it together


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """One weight that was packed."""

    name: str
    encoding: str
    nbytes: int  # packed


@dataclasses.dataclass(frozen=True)
class UnpackedFile:
    """What ``unpack_file`` did."""

    source: str
    output: str
    tensors: int
    operators: int  # weights that became custom operators instead
    nbytes_before: int
    nbytes_after: int

    def facts(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)

    def sentence(self) -> str:
        """One line for people."""
        sizes = f"{self.nbytes_before:,} → {self.nbytes_after:,} bytes"
        operators = f", {self.operators} in custom operators" if self.operators else ""
        weights = f"{self.tensors} weight{'' if self.tensors == 1 else 's'} unpacked{operators}"
        return f"{self.source}: {weights}, {sizes} → {self.output}"


def check_version(model: Model) -> None:
    """Raises FormatError where the file is of a format version that this reader does not know."""
    for entry in model.proto.opset_import:
        if entry.domain == DOMAIN and entry.version != VERSION:
            raise FormatError(
                f"the file is in format version {entry.version}, this onnxsqueeze reads version {VERSION}; "
                "install a newer one"
            )


def embedded(scope: Scope, name: str, weight: npt.NDArray[Any]) -> TensorProto:
    """The weight as an initializer with its bytes inside."""
    return numpy_helper.from_array(weight, name)


def unpack(model: Model, threads: int = 1, hold: Hold = embedded, keep: Container[str] = frozenset()) -> list[Unpacked]:
    """Replaces every decode node by the initializer that ``hold`` makes of its weight, in place.

    ``keep``: weights of the main graph that stay packed. Raises FormatError naming the weight that is corrupt.
    """
    check_version(model)
    done: list[Unpacked] = []
    for scope in walk(model.proto):
        kept = keep if scope.parent is None else frozenset[str]()
        nodes = [node for node in scope.graph.node if node.domain == DOMAIN and node.output[0] not in kept]
        tensors = {t.name: t for t in scope.graph.initializer}
        made: dict[str, TensorProto] = {}
        for node, (encoded, weight) in zip(nodes, _decode_nodes(model, nodes, tensors, threads), strict=True):
            name = node.output[0]
            made[name] = hold(scope, name, weight)
            done.append(Unpacked(f"{scope.path}/{name}" if scope.path else name, encoded.op_type, encoded.nbytes))
        packed = inputs_of(nodes)
        if nodes:
            replace_nodes(scope.graph, made)
            drop_unused(model.proto, packed)
    if not any(node.domain == DOMAIN for node in model.proto.graph.node):
        drop_domain(model.proto, DOMAIN)
    model.refresh()
    return done


def _decode_nodes(
    model: Model, nodes: Sequence[NodeProto], tensors: dict[str, TensorProto], threads: int
) -> Iterator[Decoded]:
    """Small weights on a thread each, large ones on all threads, in the nodes' order."""

    def read(name: str) -> npt.NDArray[Any] | None:
        return model.read(tensors[name]) if name in tensors else None

    def small(node: NodeProto) -> Decoded | None:
        encoded = from_node(node, read)
        return None if encoded.payload_nbytes >= SPREAD_FROM else _decoded(node, encoded, 1)

    with ThreadPoolExecutor(threads) as pool:
        for node, found in zip(nodes, pool.map(small, nodes), strict=True):
            yield found or _decoded(node, from_node(node, read), threads)


def _decoded(node: NodeProto, encoded: Encoded, threads: int) -> Decoded:
    try:
        return encoded, decode(encoded, threads)
    except FormatError as error:
        reason = str(error).removeprefix("packed weight is corrupt: ")
        raise FormatError(f"weight '{node.output[0]}' is corrupt: {reason}") from error


def unpack_file(source: str | os.PathLike[str], output: str | os.PathLike[str], kernel: str = "never") -> UnpackedFile:
    """Writes a compressed model as plain dense ONNX; raises SqueezeError, and no file is written or changed then.

    ``kernel``: "auto" and "always" turn weights that native kernels run (see ``onnxsqueeze.runtime.session_options``)
    into custom operators, which take a session that registers the native library.
    """
    from onnxsqueeze.model import Model

    path, target = Path(source), Path(output)
    check_output(target)
    with staging(target) as folder, writing(target):
        model = Model.load(path, folder)
        before = files_of(path, model.proto)
        check_distinct(target, *before)
        if is_inlined(model):
            raise ModelError(f"'{source}' was written with --inline: its packed weights can no longer be recognised")
        if not model.is_packed:
            raise ModelError(f"'{source}' holds no packed weights; there is nothing to unpack")
        nbytes = sum(file.stat().st_size for file in before)
        kernels = provided(model, kernel, read_profile())
        done = unpack(model, os.cpu_count() or 1, keep=kernels)
        operators = to_operators(model, kernels) if kernels else 0
        done += unpack(model, os.cpu_count() or 1)  # what fits no operator
        model.check()
        draft = folder / Path(os.path.realpath(target)).name
        model.save(draft)
        after = sum(file.stat().st_size for file in (draft, data_file(draft)) if file.exists())
        put(draft, target)
    return UnpackedFile(str(source), str(output), len(done), operators, nbytes, after)

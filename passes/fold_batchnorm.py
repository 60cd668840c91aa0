"""Folds an inference-mode BatchNormalization into the Conv, ConvTranspose, Gemm or MatMul before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from onnxsqueeze.model import Model
from onnxsqueeze.model.graphs import Edges, Key, Scope, Site, domain, edges
from onnxsqueeze.model.load import drop_inputs
from onnxsqueeze.model.roles import attribute, integer, small_ints
from onnxsqueeze.model.tensors import FLOATS, little_bytes
from onnxsqueeze.model.weights import find

Doubles = npt.NDArray[np.float64]
SAME_RANK = frozenset({"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "Dropout", "Identity", "Cast", "Softmax"})


@dataclass(frozen=True, eq=False)
class Affine:
    """What the BatchNormalization does to each channel: ``x * scale + shift``."""

    scale: Doubles
    shift: Doubles


@dataclass(frozen=True, eq=False)
class Place:
    """A BatchNormalization, and what is needed to fold it."""

    model: Model
    wiring: Edges
    scope: Scope
    norm: NodeProto
    maker: NodeProto  # the node whose output it reads
    affine: Affine

    def constant(self, node: NodeProto, position: int) -> Key | None:
        """The float constant at a node input."""
        if position >= len(node.input) or not node.input[position]:
            return None
        key = self.wiring.key(self.scope, node.input[position])
        tensor = None if key is None else self.wiring.constants.get(key)
        return key if tensor is not None and tensor.data_type in FLOATS else None

    def own(self, node: NodeProto, position: int) -> Key | None:
        """The same, when nothing else uses it: it may be changed in place."""
        key = self.constant(node, position)
        if key is None or key in self.wiring.results or len(self.wiring.users[key]) != 1:
            return None
        return key

    def values(self, key: Key) -> Doubles:
        return self.model.read(self.wiring.constants[key]).astype(np.float64)


def fold_batchnorms(model: Model) -> int:
    """Folds all that can be folded; the count of nodes folded."""
    wiring = edges(model.proto)
    changes = 0
    for scope in wiring.scopes:
        gone = []
        for position, node in enumerate(scope.graph.node):
            place = _place(model, wiring, scope, node)
            if place is not None and _fold(place):
                changes += 1
                if node.op_type == "BatchNormalization":  # else it has become the Add of a bias
                    gone.append(position)
        for position in reversed(gone):
            del scope.graph.node[position]
    return changes


def _place(model: Model, wiring: Edges, scope: Scope, node: NodeProto) -> Place | None:
    if node.op_type != "BatchNormalization" or domain(node) != "" or any(node.output[1:]):
        return None
    if integer(node, "training_mode", 0) or not integer(node, "spatial", 1) or model.opset < 7:
        return None
    before = (scope.index, node.input[0])
    maker = wiring.producers.get(before)
    if maker is None or domain(maker) != "" or before in wiring.results or len(wiring.users[before]) != 1:
        return None
    affine = _affine(model, wiring, scope, node)
    return None if affine is None else Place(model, wiring, scope, node, maker, affine)


def _affine(model: Model, wiring: Edges, scope: Scope, node: NodeProto) -> Affine | None:
    vectors: list[Doubles] = []
    for name in node.input[1:5]:
        key = wiring.key(scope, name)
        tensor = None if key is None else wiring.constants.get(key)
        if tensor is None or tensor.data_type not in FLOATS or len(tensor.dims) != 1:
            return None
        vectors.append(model.read(tensor).astype(np.float64))
    gamma, beta, mean, variance = vectors
    epsilon = attribute(node, "epsilon", 1e-5)
    assert isinstance(epsilon, float)
    if not gamma.shape == beta.shape == mean.shape == variance.shape or np.any(variance + epsilon <= 0):
        return None
    scale = gamma / np.sqrt(variance + epsilon)
    return Affine(scale, beta - mean * scale)


def _fold(place: Place) -> bool:
    fold = FOLDS.get(place.maker.op_type)
    return fold is not None and fold(place)


def _fold_conv(place: Place) -> bool:
    key = place.own(place.maker, 1)
    if key is None:
        return False
    weight = place.values(key)
    channels = len(place.affine.scale)
    if place.maker.op_type == "Conv":
        if weight.shape[0] != channels:
            return False
        scaled = weight * place.affine.scale.reshape(-1, *[1] * (weight.ndim - 1))
    else:
        groups = integer(place.maker, "group", 1)
        if weight.shape[0] % groups or weight.shape[1] * groups != channels:
            return False
        split = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        factor = place.affine.scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        scaled = (split * factor).reshape(weight.shape)
    bias = _bias(place, place.maker, 2, 1.0)
    return bias is not None and _commit(place, 2, key, scaled, bias)


def _fold_gemm(place: Place) -> bool:
    key = place.own(place.maker, 1)
    if key is None:
        return False
    weight = place.values(key)
    scale = place.affine.scale if not integer(place.maker, "transB", 0) else place.affine.scale[:, None]
    beta = attribute(place.maker, "beta", 1.0)
    assert isinstance(beta, float)
    bias = _bias(place, place.maker, 2, beta)
    if bias is None or weight.shape[0 if scale.ndim == 2 else 1] != len(place.affine.scale):
        return False
    if not _commit(place, 2, key, weight * scale, bias):
        return False
    for position in range(len(place.maker.attribute) - 1, -1, -1):
        if place.maker.attribute[position].name == "beta":
            del place.maker.attribute[position]
    return True


def _fold_matmul(place: Place) -> bool:
    """MatMul alone: the BatchNormalization becomes the Add of a bias."""
    key = _matmul_weight(place, place.maker)
    if key is None or not _write(place, key, place.values(key) * place.affine.scale, place.affine.shift):
        return False
    norm, before = place.norm, place.norm.input[0]
    _leave(place, norm, range(1, 5))
    norm.op_type = "Add"
    norm.ClearField("attribute")
    norm.ClearField("input")
    norm.input.append(before)
    _set_bias(place, norm, 1, key, place.affine.shift)
    return True


def _fold_add(place: Place) -> bool:
    """MatMul and the Add of a bias."""
    for position in (0, 1):
        before = (place.scope.index, place.maker.input[1 - position])
        product = place.wiring.producers.get(before)
        if product is None or product.op_type != "MatMul" or domain(product) != "":
            continue
        if before in place.wiring.results or len(place.wiring.users[before]) != 1:
            continue
        key = _matmul_weight(place, product)
        bias = _bias(place, place.maker, position, 1.0)
        if key is not None and bias is not None:
            return _commit(place, position, key, place.values(key) * place.affine.scale, bias)
    return False


def _matmul_weight(place: Place, product: NodeProto) -> Key | None:
    """The right side of a product of two matrices; of higher rank, channels would not be the last axis."""
    key = place.own(product, 1)
    if key is None or _rank(place.wiring, place.scope, product.input[0]) != 2:
        return None
    dims = place.wiring.constants[key].dims
    return key if len(dims) == 2 and dims[1] == len(place.affine.scale) else None


def _rank(wiring: Edges, scope: Scope, name: str) -> int | None:
    """The number of dimensions where operators or graph inputs prove it; declared shapes may be wrong."""
    for _ in range(32):
        for value in scope.graph.input if scope.parent is None else ():
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        node = wiring.producers.get((scope.index, name))
        if node is None or domain(node) != "":
            return None
        if node.op_type in ("Flatten", "Gemm"):
            return 2
        if node.op_type == "Reshape" and len(node.input) > 1:
            sizes = small_ints(wiring, scope, node.input[1])
            return None if sizes is None else len(sizes)
        if node.op_type not in SAME_RANK:
            return None
        name = node.input[0]
    return None


def _bias(place: Place, node: NodeProto, position: int, factor: float) -> Doubles | None:
    """The bias behind the fold; None where the one that is there is not one constant value per channel."""
    channels = len(place.affine.scale)
    if position >= len(node.input) or not node.input[position]:
        return place.affine.shift
    key = place.constant(node, position)
    if key is None:
        return None
    old = place.values(key) * factor
    if old.ndim > 2 or not (old.size == 1 or (old.size == channels and old.shape[-1] == channels)):
        return None
    return old.reshape(-1) * place.affine.scale + place.affine.shift


def _commit(place: Place, position: int, key: Key, weight: Doubles, bias: Doubles) -> bool:
    """Stores weight and bias, and lets the node before make the output of the BatchNormalization."""
    if not _write(place, key, weight, bias):
        return False
    _leave(place, place.maker, [position])
    _set_bias(place, place.maker, position, key, bias)
    _leave(place, place.norm, range(5))
    before, after = place.norm.input[0], place.norm.output[0]
    place.maker.output[list(place.maker.output).index(before)] = after
    del place.wiring.producers[place.scope.index, before]
    place.wiring.producers[place.scope.index, after] = place.maker
    return True


def _write(place: Place, key: Key, weight: Doubles, bias: Doubles) -> bool:
    """Stores the weight in its own type; False where it or the bias does not fit into that."""
    tensor = place.wiring.constants[key]
    kind = FLOATS[tensor.data_type]
    with np.errstate(over="ignore"):
        narrow = weight.astype(kind)
        if not np.all(np.isfinite(narrow)) or not np.all(np.isfinite(bias.astype(kind))):
            return False
    place.model.write(tensor, narrow)
    for name, found in find(place.model.proto).items() if place.model.notes else ():
        if (found.scope.index, found.local) == key:
            place.model.notes.pop(name, None)
    _overridable_no_more(place, key)
    return True


def _set_bias(place: Place, node: NodeProto, position: int, key: Key, bias: Doubles) -> None:
    kind = place.wiring.constants[key].data_type
    name = place.model.unique_name(f"{key[1]}.bias")
    tensor = place.scope.graph.initializer.add(name=name, data_type=kind, dims=[len(bias)])
    tensor.raw_data = little_bytes(bias.astype(FLOATS[kind]))
    node.input.extend([""] * (position + 1 - len(node.input)))
    node.input[position] = name
    place.scope.names.add(name)
    place.wiring.constants[place.scope.index, name] = tensor
    place.wiring.users[place.scope.index, name] = [Site(place.scope, node, position)]


def _leave(place: Place, node: NodeProto, positions: Iterable[int]) -> None:
    """The node uses these inputs no more."""
    for position in positions:
        key = place.wiring.key(place.scope, node.input[position]) if position < len(node.input) else None
        if key is None:
            continue
        users = place.wiring.users.get(key, [])
        users[:] = [site for site in users if site.node is not node or site.input != position]
        if not users:
            _overridable_no_more(place, key)


def _overridable_no_more(place: Place, key: Key) -> None:
    """A folded initializer that was also listed as a graph input is a plain constant from here on."""
    if key[0] == 0 and key in place.wiring.constants:
        drop_inputs(place.model.proto, {key[1]})


FOLDS: dict[str, Callable[[Place], bool]] = {
    "Conv": _fold_conv,
    "ConvTranspose": _fold_conv,
    "Gemm": _fold_gemm,
    "MatMul": _fold_matmul,
    "Add": _fold_add,
}

"""FATReLU: activations under a threshold become zero, too, so that kernels may skip them (Kurtz et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, TensorProto, helper

from onnxsqueeze.calibration.observe import observe
from onnxsqueeze.calibration.trial import Trial
from onnxsqueeze.model.graphs import Edges, Scope, domain, edges, label
from onnxsqueeze.passes.bounds import choices, in_range

if TYPE_CHECKING:
    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline import Context

Array = npt.NDArray[Any]

PRODUCTS, LAYERS = ("Gemm", "MatMul"), ("Conv", "Gemm", "MatMul")
MOVES = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")  # pass values on as they are
SHARES = (0.98, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6)  # of zeros, tried from the first on
LOSS = 0.01  # where nothing is asked for
SAMPLES, VALUES = 64, 1 << 16  # that quantiles are taken from: samples, and values of each
OPSET = 10  # the oldest with ThresholdedRelu in onnxruntime


@dataclass(frozen=True)
class Fatrelu:
    """Relu nodes become ThresholdedRelu: what is at most the threshold becomes zero.

    `threshold` is the same for all of them. `sparsity` asks for that share of zeros on the calibration samples. With
    neither, each node in turn gets as many zeros as keep the loss on the samples within `loss`. `where`: Relu in front
    of `products` (Gemm, MatMul), whose zeros are skipped at small batch, or of all `layers` (Conv, too). The weights
    behind are float32.
    """

    threshold: float | None = None
    sparsity: float | None = None
    loss: float | None = None
    where: str = "products"

    def __post_init__(self) -> None:
        in_range("threshold", self.threshold, 0, 3e38)
        in_range("sparsity", self.sparsity, 0, 1)
        in_range("loss", self.loss, 0, 1)
        choices("where", self.where, ("products", "layers"))
        if sum(value is not None for value in (self.threshold, self.sparsity, self.loss)) > 1:
            raise ValueError("threshold, sparsity and loss ask for different things; give one of them")

    def __call__(self, model: Model, context: Context) -> int:
        nodes = _relus(model, PRODUCTS if self.where == "products" else LAYERS)
        if not nodes or self.threshold == 0:
            return 0
        if self.threshold is None and not context.calibration:
            context.notes("fatrelu: nothing is done without calibration samples; give them, or threshold=…")
            return 0
        if model.opset < OPSET and not model.raise_opset(13):
            context.notes(f"fatrelu: opset {model.opset} has no ThresholdedRelu, and the model does not convert")
            return 0
        nodes = _relus(model, PRODUCTS if self.where == "products" else LAYERS)
        if self.threshold is not None:
            return sum(_cut(node, self.threshold) for node in nodes)
        if self.sparsity is not None:
            cuts = _quantiles(model, nodes, context, (self.sparsity,))
            return sum(_cut(node, found[0]) for node, found in zip(nodes, cuts, strict=True))
        return _search(model, nodes, context, LOSS if self.loss is None else self.loss)


def _relus(model: Model, feeds: Sequence[str]) -> list[NodeProto]:
    """Relu nodes of the main graph in front of such operators, in order."""
    wiring = edges(model.proto)
    main = wiring.scopes[0]
    return [
        node
        for node in main.graph.node
        if node.op_type == "Relu" and domain(node) == "" and _is_read(wiring, main, node.output[0], feeds)
    ]


def _is_read(wiring: Edges, main: Scope, value: str, feeds: Sequence[str]) -> bool:
    """Whether a layer with constant float32 weights reads the value."""
    for site in wiring.users.get((main.index, value), []):
        node = site.node
        if site.scope is not main or site.input != 0 or domain(node) != "":
            continue
        if node.op_type in feeds:
            key = wiring.key(main, node.input[1])
            weight = wiring.constants.get(key) if key is not None else None
            if weight is not None and weight.data_type == TensorProto.FLOAT:
                return True
        elif node.op_type in MOVES and _is_read(wiring, main, node.output[0], feeds):
            return True
    return False


def _cut(node: NodeProto, threshold: float) -> bool:
    """Makes a Relu a ThresholdedRelu; False, and nothing done, where that changes nothing."""
    if threshold <= 0:
        return False
    node.op_type = "ThresholdedRelu"
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("alpha", float(np.float32(threshold))))
    return True


def _undo(node: NodeProto) -> None:
    node.op_type = "Relu"
    del node.attribute[:]


def _quantiles(
    model: Model, nodes: Sequence[NodeProto], context: Context, shares: Sequence[float]
) -> list[list[float]]:
    """For each node the thresholds at which so many of its outputs are zero on the samples."""
    feeds = (context.calibration or ())[:SAMPLES]
    found = observe(model, [node.output[0] for node in nodes], feeds, lambda value: _some(value, context.seed))
    return [[float(q) for q in np.quantile(np.concatenate(values), shares, method="lower")] for values in found]


def _some(value: Array, seed: int) -> Array:
    flat = value.reshape(-1)
    return flat if flat.size <= VALUES else np.random.default_rng(seed).choice(flat, VALUES, replace=False)


def _search(model: Model, nodes: Sequence[NodeProto], context: Context, loss: float) -> int:
    """Gives each node in turn the most zeros that keep the loss of all together within the bound."""
    feeds = (context.calibration or ())[:SAMPLES]
    trial = Trial(model, feeds, context.jobs)
    cuts = _quantiles(model, nodes, context, SHARES)
    count = 0
    context.progress.start("fatrelu", len(nodes))
    for node, thresholds in zip(nodes, cuts, strict=True):
        for threshold in thresholds:
            if not _cut(node, threshold):
                break
            if trial.loss(model).value <= loss:
                count += 1
                break
            _undo(node)
        context.progress.advance(label(node))
    context.progress.finish()
    return count

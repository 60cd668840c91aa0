"""What one inference of a model has to do: work and data of every node, bytes of every weight."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightWork:
    """One constant tensor that a run reads."""

    name: str  # unique in the model, as in ``Model.weights``
    shape: tuple[int, ...]
    bits: int  # of one dense value
    floating: bool
    zeros: int  # values that are zero
    pattern: tuple[int, int] | None  # (2, 4) where of every 4 neighbours that are multiplied with one input 2 are zero
    stored_nbytes: int  # as it lies in the file, indices, codebook and attributes included
    encoding: str  # "dense", or the operator of FORMAT.md that packs it
    nodes: tuple[str, ...]  # the nodes that read it
    decoding: tuple[tuple[str, int], ...] = ()  # steps of decoding it, and how many values each works on

    @property
    def elements(self) -> int:
        """Number of values."""
        n = 1
        for size in self.shape:
            n *= size
        return n

    @property
    def nbytes(self) -> int:
        """Bytes of the dense values."""
        return -(-self.elements * self.bits // 8)

    @property
    def zero_fraction(self) -> float:
        """Share of the values that are zero."""
        return self.zeros / self.elements if self.elements else 0.0


@dataclass(frozen=True)
class NodeWork:
    """The work of one node in one inference, all its runs together where it stands in a loop."""

    name: str
    op: str
    domain: str
    kind: str  # what its speed depends on, one of ``KINDS``
    runs: int  # times that it runs in one inference
    macs: int  # multiply-accumulates with dense weights
    nonzero_macs: int  # of them those whose weight is not zero
    padding: float  # MACs that onnxruntime's kernels, which work on whole blocks, do for each of them
    operations: int  # additions, comparisons, exponentials … beside the MACs
    input_nbytes: int  # activations read
    output_nbytes: int  # activations written
    layout_nbytes: int  # activations moved once more, where the layout changes between convolutions and other nodes
    weights: tuple[str, ...]  # constants that it reads
    weight_elements: int
    weight_nbytes: int  # dense
    stored_nbytes: int  # in the file; a weight that several nodes read counts with the first of them
    read_share: float  # of the weights' bytes that a run reads: below 1 for tables looked up
    zeros: int  # zero values among the weights
    bits: int  # of one value that is computed with
    output_shape: tuple[int, ...]
    pattern: tuple[int, int] | None  # the N:M pattern of the weight that is multiplied
    rows: int  # MACs per weight value: 1 is a matrix times a vector; 0 where no weight is multiplied
    status: str  # "runs", "fused" into ``host``, "folded" when the model is opened, or "uncovered"
    host: str  # the node that a fused one runs in

    @property
    def zero_fraction(self) -> float:
        """Share of the weights' values that are zero."""
        return self.zeros / self.weight_elements if self.weight_elements else 0.0

    @property
    def reuse(self) -> float:
        """MACs per weight value read, 1 for a matrix times a vector; 0 without weights."""
        return self.macs / self.weight_elements if self.weight_elements else 0.0


@dataclass(frozen=True)
class Workload:
    """All nodes and weights of a model, for one shape of its inputs."""

    name: str  # of the file, "" for a model in memory
    inputs: dict[str, tuple[int, ...]]  # the shapes that the figures are for
    assumed: tuple[str, ...]  # dynamic axes whose sizes were not given, e.g. "x[3] = 224"
    nodes: tuple[NodeWork, ...]
    weights: tuple[WeightWork, ...]
    uncovered: tuple[str, ...]  # operators whose work is not counted, with a node each
    nbytes: int  # of the model file, external data included; 0 for a model in memory

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(node.macs for node in self.nodes)

    @property
    def nonzero_macs(self) -> int:
        """Multiply-accumulates with weights that are not zero."""
        return sum(node.nonzero_macs for node in self.nodes)

    @property
    def operations(self) -> int:
        """Other operations of one inference."""
        return sum(node.operations for node in self.nodes)

    @property
    def parameters(self) -> int:
        """Values in all weights."""
        return sum(weight.elements for weight in self.weights)

    @property
    def weight_nbytes(self) -> int:
        """Bytes of all weights, dense."""
        return sum(weight.nbytes for weight in self.weights)

    @property
    def stored_nbytes(self) -> int:
        """Bytes of all weights as they lie in the file."""
        return sum(weight.stored_nbytes for weight in self.weights)

    @property
    def peak_activation_nbytes(self) -> int:
        """The most that one node reads and writes, weights aside."""
        return max(((n.input_nbytes + n.output_nbytes) // max(n.runs, 1) for n in self.nodes), default=0)

"""Against NNCodec (ISO/IEC 15938-17, DeepCABAC with dependent quantization): bytes of files at equal output error.

NNCodec is installed beside the project: ``pip install --no-deps nncodec==2.1.3``, with a C++ compiler and pybind11,
and what its codec imports: torch, tqdm, h5py, opencv-python-headless, ptflops, torchmetrics and pandas.
"""

from __future__ import annotations

import math
import sys
import tempfile
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxsqueeze import zoo
from onnxsqueeze.budget import Budget
from onnxsqueeze.compress import compress
from onnxsqueeze.errors import RuntimeUnavailable
from onnxsqueeze.model import Model
from onnxsqueeze.passes import PASSES
from onnxsqueeze.pipeline import Context
from onnxsqueeze.zoo.benchmark_updates import followed
from onnxsqueeze.zoo.samples import apart

Array = npt.NDArray[Any]
SAMPLES, LOSS = 64, 0.01
FINEST, COARSEST = -48, -4  # quantization parameters; four steps double the grid's


def nncodec(names: Sequence[str]) -> Iterator[list[object]]:
    """Rows: model, our settings, relative output error, our file, NNCodec's at that error, with the graph, ratios."""
    codec = _codec()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.onnx"
        for name in names or ("lenet-300-100", "lenet-5", "silero-vad-sequence"):
            source = zoo.fetch(name)
            samples, others = apart(name, SAMPLES)
            settings: dict[str, dict[str, Any]] = {
                "default, no data": {},
                "`--max-loss 1%`": {"calibration": samples, "budget": Budget(max_loss=LOSS)},
            }
            peer = _Peer(codec, source, Path(folder), others)
            for told, options in settings.items():
                ours = compress(source, output, **options).compressed_nbytes
                error = followed(source, output, others)[1]
                stream = peer.nbytes(error)
                whole = stream + peer.graph_nbytes
                cells = f"{error:.4f}", f"{ours:,}", f"{stream:,.0f}", f"{whole:,.0f}"
                yield [name, told, *cells, f"{ours / stream:.2f}x", f"{ours / whole:.2f}x"]


class _Peer:
    """A model's float tensors in NNCodec's hands, BatchNormalization folded as for us."""

    def __init__(self, codec: Any, source: Path, folder: Path, feeds: Sequence[Mapping[str, Any]]) -> None:
        self._codec, self._source, self._folder, self._feeds = codec, source, folder, feeds
        self._model = Model.load(source)
        PASSES["fold"]()(self._model, Context())
        self._weights = {w.name: w for w in self._model.weights(1) if w.dtype == np.float32}
        self._values = {name: w.values().copy() for name, w in self._weights.items()}
        self._known: dict[int, tuple[float, int]] = {}

    @property
    def graph_nbytes(self) -> int:
        """Bytes of the model without these tensors."""
        return int(self._model.proto.ByteSize()) - sum(v.nbytes for v in self._values.values())

    def nbytes(self, error: float) -> float:
        """Of the stream at an output error: between two grids, as the logarithms of both go."""
        low, high = FINEST, COARSEST
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._coded(middle)[0] <= error else (low, middle)
        (first, more), (second, less) = self._coded(low), self._coded(high)
        share = math.log(error / first) / math.log(second / first) if second > first > 0 else 0.0
        return float(more * (less / more) ** min(max(share, 0.0), 1.0))

    def _coded(self, parameter: int) -> tuple[float, int]:
        """Output error and bytes of the stream at one quantization parameter."""
        if parameter not in self._known:
            path = self._folder / "stream.nnc"
            stream = self._codec.compress(self._values, str(path), qp=parameter, return_bitstream=True)
            for name, values in self._codec.decompress(stream).items():
                self._weights[name].assign(np.asarray(values, np.float32).reshape(self._values[name].shape))
            changed = self._folder / "changed.onnx"
            self._model.save(changed)
            self._known[parameter] = followed(self._source, changed, self._feeds)[1], len(stream)
        return self._known[parameter]


def _codec() -> Any:
    """NNCodec's compress and decompress; its framework, which trains models, is left out."""
    framework: Any = types.ModuleType("nncodec.framework")
    for name in ("tensorflow_model", "pytorch_model", "use_case_init"):
        setattr(framework, name, types.ModuleType(name))
    sys.modules.setdefault("nncodec.framework", framework)
    try:
        from nncodec import nnc
    except ImportError as error:
        raise RuntimeUnavailable(f"NNCodec is not installed beside the project ({error}): see {__name__}") from error
    return nnc

"""Opens a compressed model in onnxruntime with the weights decoded natively.

Stock onnxruntime decodes by folding standard operators, which takes time and, for a moment, much memory. Here the
decode nodes are taken out, and their weights handed over as ready arrays.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import TensorProto

    from onnxsqueeze.model import Model
    from onnxsqueeze.model.graphs import Scope

PLACE = "onnxsqueeze-in-memory"  # stands where a file name would; nothing of that name is opened


def load(
    path: str | os.PathLike[str],
    sess_options: Any = None,
    providers: Sequence[Any] | None = None,
    threads: int | None = None,
) -> Any:
    """Opens a model, packed by onnxsqueeze or not, as a plain ``onnxruntime.InferenceSession``.

    Args:
        path: the ``.onnx`` file.
        sess_options: ``onnxruntime.SessionOptions`` or None; changed: the weights are added to it.
        providers: as for InferenceSession; None for the CPU.
        threads: that decode; None for one a core.

    Raises:
        SqueezeError: the file is corrupt, or onnxruntime does not open it.
    """
    import onnxruntime

    from onnxsqueeze.model import Model

    options = sess_options if sess_options is not None else onnxruntime.SessionOptions()
    chosen = list(providers) if providers is not None else ["CPUExecutionProvider"]
    model = Model.load(path)
    if not model.is_packed:
        return _open(onnxruntime, os.fspath(path), options, chosen, path)
    arrays = _take_weights(model, threads or os.cpu_count() or 1)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
    options.add_external_initializers(list(arrays), values)
    session = _open(onnxruntime, model.proto.SerializeToString(), options, chosen, path)
    session.onnxsqueeze_weights = arrays  # the session reads them where they are: they must live as long
    return session


def _take_weights(model: Model, threads: int) -> dict[str, npt.NDArray[Any]]:
    """Takes the packed and the large weights of the main graph out of the model, dense; the model keeps stubs."""
    from onnx import numpy_helper

    from onnxsqueeze.model.tensors import is_external
    from onnxsqueeze.pipeline.unpack import unpack

    arrays: dict[str, npt.NDArray[Any]] = {}

    def hold(scope: Scope, name: str, weight: npt.NDArray[Any]) -> TensorProto:
        if scope.parent is not None:
            return numpy_helper.from_array(weight, name)
        arrays[name] = weight
        return _stub(name, weight)

    unpack(model, threads, hold)
    for tensor in model.proto.graph.initializer:
        if tensor.name not in arrays and is_external(tensor):
            arrays[tensor.name] = model.read(tensor)
            tensor.CopyFrom(_stub(tensor.name, arrays[tensor.name]))
    return arrays


def _stub(name: str, weight: npt.NDArray[Any]) -> TensorProto:
    """An initializer without bytes, for a weight that the session is given as an array."""
    from onnx import TensorProto, helper

    stub = TensorProto(
        name=name,
        dims=weight.shape,
        data_type=helper.np_dtype_to_tensor_dtype(weight.dtype),
        data_location=TensorProto.EXTERNAL,
    )
    for key, value in (("location", PLACE), ("offset", "0"), ("length", str(weight.nbytes))):
        stub.external_data.add(key=key, value=value)
    return stub


def _open(onnxruntime: Any, source: Any, options: Any, providers: list[Any], path: Any) -> Any:
    try:
        return onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types, none of them public
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"onnxruntime does not open '{Path(path).name}': {first}") from error

"""Opens a compressed model in onnxruntime with the weights decoded natively.

Stock onnxruntime decodes by folding standard operators, which takes time and, for a moment, much memory. Here the
decode nodes are taken out, and their weights handed over as ready arrays.
"""

from __future__ import annotations

import math
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxsqueeze.errors import ModelError, RuntimeUnavailable
from onnxsqueeze.runtime import native, profile, provider

if TYPE_CHECKING:
    import numpy.typing as npt
    from onnx import TensorProto

    from onnxsqueeze.model import Model
    from onnxsqueeze.model.graphs import Scope

CPU = "CPUExecutionProvider"
LITTLE = 1 << 16  # elements that onnxruntime may decode itself
PLACE = "onnxsqueeze-in-memory"  # stands where a file name would; nothing of that name is opened


def load(
    path: str | os.PathLike[str],
    sess_options: Any = None,
    providers: Sequence[Any] | None = None,
    threads: int | None = None,
    kernel: str = "auto",
) -> Any:
    """Opens a model, packed by onnxsqueeze or not, as a plain ``onnxruntime.InferenceSession``.

    Weights that native kernels run faster packed than onnxruntime dense stay packed; all others are decoded natively.
    With ``providers=["CPUExecutionProvider"]`` all are, and outputs equal stock onnxruntime's bit for bit. The kernels
    are reached by the execution provider, or as custom operators where onnxruntime takes no plugin providers.

    Args:
        path: the ``.onnx`` file.
        sess_options: ``onnxruntime.SessionOptions`` or None. Weights, and maybe the provider, are added to them, so
            they serve one session: give new ones to each call.
        providers: as for InferenceSession; None for SqueezeExecutionProvider and the CPU.
        threads: that decode; None for one a core.
        kernel: what the provider takes: see ``onnxsqueeze.runtime.session_options``.

    Raises:
        SqueezeError: the file is corrupt, onnxruntime does not open it, or the options have served a session.
        ValueError: ``kernel`` is none, ``threads`` below 1, or SqueezeExecutionProvider is beside others than the CPU.
    """
    import onnxruntime

    from onnxsqueeze.model import Model
    from onnxsqueeze.pipeline.operators import to_operators
    from onnxsqueeze.pipeline.provided import provided

    _check(kernel, threads)
    options = sess_options if sess_options is not None else onnxruntime.SessionOptions()
    is_wanted = _asks_for_ours(providers)
    provider.refuse_used(options)
    model = Model.load(path)
    if not model.is_packed:
        del model  # its bytes go before onnxruntime reads them
        return _open(onnxruntime, os.fspath(path), options, _without_ours(providers), path)
    provider.mark_used(options)
    keep = provided(model, kernel, profile.read_profile()) if is_wanted else dict[str, str]()
    threads = threads or os.cpu_count() or 1
    plugs_in = bool(keep) and provider.is_available()
    as_it_is = plugs_in and _elements(model, keep) <= LITTLE
    arrays = {} if as_it_is else _take_weights(model, threads, keep)
    if keep and not plugs_in and to_operators(model, keep):
        _register(options)
        arrays |= _take_weights(model, threads, ())  # what does not fit an operator
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in arrays.values()]
    if arrays:
        options.add_external_initializers(list(arrays), values)
    if plugs_in:
        provider.add_provider(options, kernel)
    chosen = None if plugs_in else _without_ours(providers)
    source = os.fspath(path) if as_it_is else model.proto.SerializeToString()  # sessions keep such bytes
    del model
    session = _open(onnxruntime, source, options, chosen, path)
    native.trim_memory()  # what was read and decoded on the way is several times what stays
    session.onnxsqueeze_weights = arrays  # the session reads them where they are: they must live as long
    return session


def _check(kernel: str, threads: int | None) -> None:
    """Also where they do not matter: for models that are not packed, and on the CPU alone."""
    provider.check_kernel(kernel)
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be 1 or more, not {threads}")


def _elements(model: Model, keep: Container[str]) -> int:
    """Of all packed weights but those to keep."""
    from onnxsqueeze.model.graphs import walk
    from onnxsqueeze.model.roles import PACKED_DOMAIN

    nodes = [node for scope in walk(model.proto) for node in scope.graph.node if node.domain == PACKED_DOMAIN]
    shapes = (a.ints for node in nodes if node.output[0] not in keep for a in node.attribute if a.name == "shape")
    return sum(math.prod(shape) for shape in shapes)


def _asks_for_ours(providers: Sequence[Any] | None) -> bool:
    """Whether native kernels are wanted, or nothing is said."""
    if providers is None:
        return True
    if provider.NAME not in providers:
        return False
    if others := set(providers) - {provider.NAME, CPU}:
        raise ValueError(f"{provider.NAME} goes with {CPU} only, not with {', '.join(map(str, others))}")
    return True


def _register(options: Any) -> None:
    """Makes the custom operators known to the session to be."""
    try:
        options.register_custom_ops_library(str(native.library_path()))
    except Exception as error:  # onnxruntime raises its own types, none of them public
        raise RuntimeUnavailable(f"onnxruntime does not take the custom operators: {error}") from error


def _without_ours(providers: Sequence[Any] | None) -> list[Any]:
    return [p for p in providers or [CPU] if p != provider.NAME] or [CPU]


def _take_weights(model: Model, threads: int, keep: Container[str]) -> dict[str, npt.NDArray[Any]]:
    """Takes the packed and the large weights of the main graph out of the model, dense; the model keeps stubs.

    Those in ``keep`` stay packed.
    """
    from onnx import numpy_helper

    from onnxsqueeze.model.tensors import is_external
    from onnxsqueeze.pipeline.unpack import unpack

    arrays: dict[str, npt.NDArray[Any]] = {}

    def hold(scope: Scope, name: str, weight: npt.NDArray[Any]) -> TensorProto:
        if scope.parent is not None:
            return numpy_helper.from_array(weight, name)
        arrays[name] = weight
        return _stub(name, weight)

    unpack(model, threads, hold, keep)
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


def _open(onnxruntime: Any, source: Any, options: Any, providers: list[Any] | None, path: Any) -> Any:
    """``providers``: None where the options name them."""
    named = {"enable_fallback": 0} if providers is None else {"providers": providers}
    try:
        return onnxruntime.InferenceSession(source, options, **named)
    except Exception as error:  # onnxruntime raises its own types, none of them public
        first = str(error).strip().splitlines()[0]
        raise ModelError(f"onnxruntime does not open '{Path(path).name}': {first}") from error

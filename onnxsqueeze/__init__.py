"""onnxsqueeze: an ONNX model-to-model compression compiler."""

from onnxsqueeze.compress import Result, compress
from onnxsqueeze.errors import SqueezeError

__version__ = "0.1.0"

__all__ = ["Result", "SqueezeError", "__version__", "compress"]

"""The view of an ONNX model that passes work on."""

from onnxsqueeze.model.model import Model
from onnxsqueeze.model.weights import Use, Weight

__all__ = ["Model", "Use", "Weight"]

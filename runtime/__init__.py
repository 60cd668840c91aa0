"""The native library: codecs and kernels in C++; ``load`` opens compressed models with them."""

from onnxsqueeze.runtime.provider import session_options
from onnxsqueeze.runtime.session import load

__all__ = ["load", "session_options"]

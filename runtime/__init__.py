"""The native library: codecs and kernels in C++; ``load`` opens compressed models with them."""

from onnxsqueeze.runtime.provider import register, session_options
from onnxsqueeze.runtime.session import load

__all__ = ["load", "register", "session_options"]

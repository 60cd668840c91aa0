"""The native library: codecs in C++, called through ctypes; ``load`` opens compressed models with them."""

from onnxsqueeze.runtime.session import load

__all__ = ["load"]

"""Encodings: dense values to packed bytes and back (FORMAT.md)."""

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.layouts import smallest
from onnxsqueeze.encode.note import Note, Pattern, Scale, Sharing

__all__ = ["Encoded", "Note", "Pattern", "Scale", "Sharing", "smallest"]

"""Encodings: dense values to packed bytes and back (FORMAT.md)."""

from onnxsqueeze.encode.encoded import Encoded
from onnxsqueeze.encode.layouts import Plan, best_plan, plans, smallest
from onnxsqueeze.encode.note import Note, Pattern, Scale, Sharing

__all__ = ["Encoded", "Note", "Pattern", "Plan", "Scale", "Sharing", "best_plan", "plans", "smallest"]

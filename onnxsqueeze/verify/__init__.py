"""Verification: open, run, compare."""

from onnxsqueeze.verify.fidelity import Fidelity, compare
from onnxsqueeze.verify.run import Verification, verify

__all__ = ["Fidelity", "Verification", "compare", "verify"]

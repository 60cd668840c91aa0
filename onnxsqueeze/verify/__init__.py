"""Verification: open, run, compare."""

from onnxsqueeze.verify.fidelity import Fidelity, compare
from onnxsqueeze.verify.run import CannotRun, Verification, verify

__all__ = ["CannotRun", "Fidelity", "Verification", "compare", "verify"]

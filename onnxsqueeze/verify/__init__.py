"""Verification: open, run, compare."""

from onnxsqueeze.verify.fidelity import Fidelity, compare
from onnxsqueeze.verify.run import FRUGAL_FROM, CannotOpen, CannotRun, Verification, verify, verify_files

__all__ = ["FRUGAL_FROM", "CannotOpen", "CannotRun", "Fidelity", "Verification", "compare", "verify", "verify_files"]

"""The pipeline: its text, what passes are given, and running them in order."""

from onnxsqueeze.pipeline.context import Context, Pass, Progress, Silent
from onnxsqueeze.pipeline.text import parse, to_text

__all__ = ["Context", "Pass", "Progress", "Silent", "parse", "to_text"]

"""Over-the-air updates: the difference between two models in the fewest bytes, and putting it to use (UPDATE.md)."""

from onnxsqueeze.ota.apply import Applied, apply
from onnxsqueeze.ota.diff import Difference, diff

__all__ = ["Applied", "Difference", "apply", "diff"]

"""Over-the-air updates: the difference between two models in the fewest bytes, putting it to use, what it saves."""

from onnxsqueeze.ota.apply import Applied, apply
from onnxsqueeze.ota.diff import Difference, diff
from onnxsqueeze.ota.report import Report, report

__all__ = ["Applied", "Difference", "Report", "apply", "diff", "report"]

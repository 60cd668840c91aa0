"""Many pipelines on one model: the grid's text, running it, and what is worth having of what comes out."""

from onnxsqueeze.sweep.front import front, knee
from onnxsqueeze.sweep.grid import expand
from onnxsqueeze.sweep.point import Point
from onnxsqueeze.sweep.run import Sweep, sweep

__all__ = ["Point", "Sweep", "expand", "front", "knee", "sweep"]

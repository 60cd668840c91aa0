"""How fast a model runs and how much memory it takes: in stock onnxruntime, with the execution provider, and dense."""

from onnxsqueeze.bench.kernels import calibrate
from onnxsqueeze.bench.run import Bench, Way, bench

__all__ = ["Bench", "Way", "bench", "calibrate"]

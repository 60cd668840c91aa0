"""Sensitivity analysis: what each weight alone costs the model's outputs, at each sparsity and codebook size."""

from onnxsqueeze.sensitivity.measure import Layer, Point, Sensitivity, sensitivity

__all__ = ["Layer", "Point", "Sensitivity", "sensitivity"]

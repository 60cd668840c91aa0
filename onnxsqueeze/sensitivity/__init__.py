"""Sensitivity analysis: what each weight alone costs the model's outputs, at sparsities and bits."""

from onnxsqueeze.sensitivity.measure import Layer, Point, Sensitivity, sensitivity

__all__ = ["Layer", "Point", "Sensitivity", "sensitivity"]

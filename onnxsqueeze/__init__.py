"""onnxsqueeze: an ONNX model-to-model compression compiler."""

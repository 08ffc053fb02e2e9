"""Leaving PyTorch: export to ONNX, and latency in ONNX Runtime. Only this package knows onnx and onnxruntime."""

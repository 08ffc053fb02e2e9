"""Deployment: export to ONNX, and latency in ONNX Runtime. Only this package imports onnx and onnxruntime, on first use."""

"""Deployment: verified ONNX and OpenVINO files, int8, a runtime without torch, latency; packages are imported on first use."""

"""Deployment: verified ONNX, OpenVINO and ncnn files, int8, a runtime without torch, latency; packages are imported on use."""

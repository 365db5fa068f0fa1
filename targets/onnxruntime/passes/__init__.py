"""Rewritings for ONNX Runtime; each registers itself."""

"""ONNX -> TFLite (LiteRT)."""

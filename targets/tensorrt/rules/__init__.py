"""TensorRT's rules for ONNX models, quantized or not: one function a rule."""

from edgeport.targets.tensorrt.rules import parameters, types

__all__ = ["parameters", "types"]

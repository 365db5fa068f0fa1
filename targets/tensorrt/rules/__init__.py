"""TensorRT's rules for ONNX models, quantized or not: one function a rule. Importing this registers all of them."""

from edgeport.targets.tensorrt.rules import (
    blocks,
    dialect,
    integer_operators,
    parameters,
    placement,
    types,
    weights,
)

__all__ = ["blocks", "dialect", "integer_operators", "parameters", "placement", "types", "weights"]

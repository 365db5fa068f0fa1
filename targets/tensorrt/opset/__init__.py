"""From the canonical opset down to the one that a board's TensorRT reads."""

from edgeport.targets.tensorrt.opset.lower import lower_opset

__all__ = ["lower_opset"]

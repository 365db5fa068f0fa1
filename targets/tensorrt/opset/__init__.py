"""From the canonical opset down to the one that a board's TensorRT reads."""

"""Lowerings by theme; importing this package registers them all."""

from edgeport.targets.tflite.ops import activation, conv, elementwise, matmul, pool, reduce, shape

__all__ = ["activation", "conv", "elementwise", "matmul", "pool", "reduce", "shape"]

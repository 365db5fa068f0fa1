"""Lowerings, one small function per ONNX operator, grouped by theme; importing this registers all of them."""

from edgeport.targets.coreai.ops import conv, elementwise

__all__ = ["conv", "elementwise"]

"""Lowerings, one small function per ONNX operator, grouped by theme; importing this registers all of them."""

from edgeport.targets.coreai.ops import (
    activation,
    attention,
    conv,
    elementwise,
    matmul,
    norm,
    pool,
    reduce,
    scatter,
    select,
    shape,
)

__all__ = [
    "activation",
    "attention",
    "conv",
    "elementwise",
    "matmul",
    "norm",
    "pool",
    "reduce",
    "scatter",
    "select",
    "shape",
]

"""Lowerings, one small function per ONNX operator, grouped by theme; importing this registers all of them."""

from edgeport.targets.coreai.ops import (
    activation,
    attention,
    conv,
    elementwise,
    grid_sample,
    matmul,
    norm,
    pool,
    quantization,
    recurrent,
    reduce,
    resize,
    scatter,
    select,
    shape,
)

__all__ = [
    "activation",
    "attention",
    "conv",
    "elementwise",
    "grid_sample",
    "matmul",
    "norm",
    "pool",
    "quantization",
    "recurrent",
    "reduce",
    "resize",
    "scatter",
    "select",
    "shape",
]

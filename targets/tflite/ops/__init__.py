"""Lowerings by theme; importing this package registers them all."""

from edgeport.targets.tflite.ops import (
    activation,
    attention,
    composed,
    conv,
    conv_transpose,
    elementwise,
    index,
    matmul,
    norm,
    pad,
    pool,
    recurrent,
    reduce,
    resize,
    scatter,
    shape,
)

__all__ = [
    "activation",
    "attention",
    "composed",
    "conv",
    "conv_transpose",
    "elementwise",
    "index",
    "matmul",
    "norm",
    "pad",
    "pool",
    "recurrent",
    "reduce",
    "resize",
    "scatter",
    "shape",
]

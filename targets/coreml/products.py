"""A constant matrix along one axis of a value."""

from __future__ import annotations

import math

import numpy as np

from edgeport.sample import Array
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var


def multiplied(ctx: Context, data: Var, matrix: Array, axis: int) -> Var:
    """`matrix` [out, in] times `data` along an axis, in the current node's floats."""
    shape = tuple(data.shape)
    axis %= len(shape)
    result = (*shape[:axis], len(matrix), *shape[axis + 1 :])
    if axis == len(shape) - 1:
        return ctx.emit("linear", x=data, weight=ctx.floating(matrix))
    if axis == len(shape) - 2:
        return ctx.emit("matmul", x=ctx.floating(matrix), y=data)
    view = ctx.reshape(data, (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])))
    return ctx.reshape(ctx.emit("matmul", x=ctx.floating(matrix), y=view), result)


def spread(taps: int, dilation: int) -> Array:
    """[extent, taps] matrix that puts zeros between taps."""
    matrix = np.zeros(((taps - 1) * dilation + 1, taps))
    matrix[np.arange(taps) * dilation, np.arange(taps)] = 1
    return matrix

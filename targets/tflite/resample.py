"""A constant matrix along one axis of a tensor, without a TRANSPOSE where the axis lies well.

    last axis              FULLY_CONNECTED
    enough behind it       RESHAPE [before, axis, behind] -> BATCH_MATMUL with the matrix on the left
    few elements behind    TRANSPOSE -> FULLY_CONNECTED -> TRANSPOSE

A large interpolation matrix is a band: it is applied in blocks of rows, each to the slice of the input that it reads,
so that neither the file nor the work grows with the square of the size.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.pieces import joined, shaped, sliced

_WHOLE = 1 << 14
"""Elements up to which a matrix is applied at once: blocks cost a SLICE and a copy each."""
_ROWS = 32
_NARROW = 12
"""Elements behind the axis below which BATCH_MATMUL is slower than two TRANSPOSEs (LiteRT 2.3.0, one thread)."""


def multiplied(ctx: Context, y: ir.Value, data: Tensor, matrix: Array, position: int) -> Tensor:
    """`matrix` [out, in] times `data` (float32) along the stored axis `position`."""
    before, behind = math.prod(data.shape[:position]), math.prod(data.shape[position + 1 :])
    shape = (*data.shape[:position], len(matrix), *data.shape[position + 1 :])
    if behind == 1:
        flat = shaped(ctx, y, data, (before, data.shape[position]))
        return shaped(ctx, y, _product(ctx, y, flat, matrix, left=False), shape)
    view = shaped(ctx, y, data, (before, data.shape[position], behind))
    if behind >= _NARROW:
        out = _product(ctx, y, view, matrix, left=True)
    else:
        out = _swapped(ctx, y, _product(ctx, y, _swapped(ctx, y, view), matrix, left=False))
    return shaped(ctx, y, out, shape)


def _product(ctx: Context, y: ir.Value, data: Tensor, matrix: Array, left: bool) -> Tensor:
    """`left`: over the middle axis of three, else over the last axis."""
    if matrix.size <= _WHOLE:
        return _multiply(ctx, y, data, matrix, left)
    position, parts = 1 if left else len(data.shape) - 1, []
    for start in range(0, len(matrix), _ROWS):
        rows = matrix[start : start + _ROWS]
        used = np.flatnonzero(rows.any(0))
        low, high = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 1)
        part = sliced(ctx, y, data, position, low, high - low)
        parts.append(_multiply(ctx, y, part, rows[:, low:high], left))
    return joined(ctx, y, parts, position)


def _multiply(ctx: Context, y: ir.Value, data: Tensor, matrix: Array, left: bool) -> Tensor:
    weights = np.ascontiguousarray(matrix, np.float32)
    if left:
        constant = ctx.builder.constant(f"{y.name}/interpolation", weights[None])
        shape = (data.shape[0], len(weights), data.shape[2])
        return ctx.step(y, "BATCH_MATMUL", [constant, data], "BatchMatMulOptions", shape, adjX=False, adjY=False)
    constant = ctx.builder.constant(f"{y.name}/interpolation", weights)
    out = ctx.temporary(y, "product", (*data.shape[:-1], len(weights)))
    options = {"fusedActivationFunction": 0, "keepNumDims": True}
    ctx.emit("FULLY_CONNECTED", [data, constant, None], [out], "FullyConnectedOptions", **options)
    return out


def _swapped(ctx: Context, y: ir.Value, data: Tensor) -> Tensor:
    first, second, third = data.shape
    out = ctx.temporary(y, "swapped", (first, third, second))
    ctx.transpose(data, (0, 2, 1), out)
    return out

"""Repetition along axes, in the forms that are fastest in LiteRT 2.3.0: its BROADCAST_TO takes 130 ns an element.

float32             MUL by ones, one axis after the other: XNNPACK, 0.04 ns an element
integers, plain     TILE (0.05 ns an element where rows are repeated, 2 ns where single elements are)
int8, int16         GATHER of one row again and again; of single elements MUL by ones (scale 1), which is exact
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import QParams
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context

_MOST_AXES = 6
"""Of what XNNPACK's MUL takes."""


def repeated(ctx: Context, y: ir.Value, data: Tensor, counts: Sequence[int]) -> Tensor:
    """`data` repeated `counts[i]` times along its stored axis i, as numpy's tile."""
    if all(n == 1 for n in counts):
        return data
    if data.quant is None and data.dtype != "float32":
        out = ctx.temporary(y, "tile", [d * n for d, n in zip(data.shape, counts, strict=True)], data.dtype)
        ctx.emit("TILE", [data, ctx.ints("repeats", counts)], [out], "TileOptions")
        return out
    for position in reversed(range(len(counts))):  # inner axes first: outer ones then copy long rows
        if counts[position] > 1:
            data = _along(ctx, y, data, position, counts[position])
    return data


def _along(ctx: Context, y: ir.Value, data: Tensor, position: int, count: int) -> Tensor:
    shape = (*data.shape[:position], data.shape[position] * count, *data.shape[position + 1 :])
    if data.shape[position] == 1 and len(shape) <= _MOST_AXES:
        return _from_one(ctx, y, data, position, count)
    return _rows_repeated(ctx, y, data, position, count, shape)


def stretched(ctx: Context, y: ir.Value, data: Tensor, position: int, count: int) -> Tensor:
    """Every element along a stored axis `count` times in a row, as numpy's repeat."""
    if count == 1:
        return data
    shape = (*data.shape[:position], data.shape[position] * count, *data.shape[position + 1 :])
    return _rows_repeated(ctx, y, data, position + 1, count, shape)


def _rows_repeated(ctx: Context, y: ir.Value, data: Tensor, position: int, count: int, shape: Sequence[int]) -> Tensor:
    """Each row, all axes from `position` on, `count` times in a row, seen as `shape`."""
    rows, inner = math.prod(data.shape[:position]), math.prod(data.shape[position:])
    few = ctx.temporary(y, "rows", (rows, 1, inner), data.dtype, data.quant)
    ctx.reshape(data, few)
    out = ctx.temporary(y, "repeated", shape, data.dtype, data.quant)
    ctx.reshape(_from_one(ctx, y, few, 1, count), out)
    return out


def _from_one(ctx: Context, y: ir.Value, data: Tensor, position: int, count: int) -> Tensor:
    """Repeats along an axis of size 1."""
    shape = (*data.shape[:position], count, *data.shape[position + 1 :])
    out = ctx.temporary(y, "repeat", shape, data.dtype, data.quant)
    single = math.prod(data.shape[position:]) == 1
    if data.quant is not None and not (single and data.dtype == "int8"):
        where = ctx.ints("index", [0] * count)
        ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=position, batchDims=0)
        return out
    ones = np.ones([count if i == position else 1 for i in range(len(shape))], data.dtype)
    quant = None if data.quant is None else QParams("int8", np.asarray(1, np.float32), np.asarray(0, np.int32))
    ctx.emit("MUL", [data, ctx.builder.constant("const/ones", ones, quant)], [out], "MulOptions")
    return out

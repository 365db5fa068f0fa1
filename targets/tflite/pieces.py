"""Tensors under another shape, in parts and put together, whatever their dtype and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context

MOST_PARTS = 5
"""Operands of CONCATENATION that XNNPACK takes."""


def shaped(ctx: Context, y: ir.Value, data: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements under another shape."""
    if data.shape == tuple(shape):
        return data
    out = ctx.temporary(y, "view", shape, data.dtype, data.quant)
    ctx.reshape(data, out)
    return out


def box(ctx: Context, y: ir.Value, data: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    """`size` elements from `begin` on, an axis each: `data` itself if that is all of it."""
    if data.shape == tuple(size):
        return data
    out = ctx.temporary(y, "part", size, data.dtype, data.quant)
    ctx.emit("SLICE", [data, ctx.ints("begin", begin), ctx.ints("size", size)], [out], "SliceOptions")
    return out


def sliced(ctx: Context, y: ir.Value, data: Tensor, position: int, begin: int, length: int) -> Tensor:
    """`length` elements from `begin` on along one stored axis: `data` itself if that is all of it."""
    size = (*data.shape[:position], length, *data.shape[position + 1 :])
    return box(ctx, y, data, [begin if i == position else 0 for i in range(len(size))], size)


def joined(ctx: Context, y: ir.Value, parts: Sequence[Tensor], position: int) -> Tensor:
    """The parts one after the other along an axis, in CONCATENATIONs that XNNPACK takes."""
    while len(parts) > 1:
        groups = [parts[i : i + MOST_PARTS] for i in range(0, len(parts), MOST_PARTS)]
        parts = [_concatenated(ctx, y, group, position) for group in groups]
    return parts[0]


def _concatenated(ctx: Context, y: ir.Value, parts: Sequence[Tensor], position: int) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[position] = sum(part.shape[position] for part in parts)
    out = ctx.temporary(y, "joined", shape, parts[0].dtype, parts[0].quant)
    ctx.emit("CONCATENATION", parts, [out], "ConcatenationOptions", axis=position)
    return out

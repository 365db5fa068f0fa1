"""A regular part of a tensor: SLICE, then a GATHER an axis with steps (LiteRT 2.3.0: STRIDED_SLICE takes 1 to 4 ns an
element of the result, GATHER of rows 0.02 to 0.15 ns and of single elements 1 ns)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context

_MOST_INDICES = 4096
"""Beyond, the indices would make the file large for an axis of mostly single elements."""


def strided(
    ctx: Context, y: ir.Value, data: Tensor, begin: Sequence[int], steps: Sequence[int], shape: Sequence[int]
) -> Tensor:
    """`shape[i]` elements from `begin[i]` on, `steps[i]` (of either sign, not 0) apart, along each stored axis i."""
    if any(s != 1 and n > _MOST_INDICES for s, n in zip(steps, shape, strict=True)):
        return _strided_slice(ctx, y, data, begin, steps, shape)
    stepped = [s != 1 for s in steps]
    start = [0 if moves else b for b, moves in zip(begin, stepped, strict=True)]
    size = [d if moves else n for d, n, moves in zip(data.shape, shape, stepped, strict=True)]
    if tuple(size) != data.shape:
        part = ctx.temporary(y, "part", size, data.dtype, data.quant)
        ctx.emit("SLICE", [data, ctx.ints("begin", start), ctx.ints("size", size)], [part], "SliceOptions")
        data = part
    for position, (first, step, count) in enumerate(zip(begin, steps, shape, strict=True)):
        if step != 1:  # outer axes first: whole rows are left out before single elements are looked at
            size[position] = count
            out = ctx.temporary(y, "gather", size, data.dtype, data.quant)
            where = ctx.builder.constant("const/index", (first + step * np.arange(count)).astype(np.int32))
            ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=position, batchDims=0)
            data = out
    return data


def _strided_slice(
    ctx: Context, y: ir.Value, data: Tensor, begin: Sequence[int], steps: Sequence[int], shape: Sequence[int]
) -> Tensor:
    stop = [b + n * s for b, n, s in zip(begin, shape, steps, strict=True)]
    # Past the first element there is no index to stop at (-1 means the last one): a mask says "to the end".
    open_end = sum(1 << i for i, end in enumerate(stop) if end < 0)
    limits = [ctx.ints("begin", begin), ctx.ints("end", stop), ctx.ints("strides", steps)]
    out = ctx.temporary(y, "strided", shape, data.dtype, data.quant)
    ctx.emit("STRIDED_SLICE", [data, *limits], [out], "StridedSliceOptions", beginMask=0, endMask=open_end)
    return out

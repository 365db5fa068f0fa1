"""Indices as LiteRT's kernels want them: never negative, constants checked now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.bounds import never_negative
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import Refused


def constant_positions(data: Array, sizes: int | Sequence[int]) -> Array:
    """Constant indices counted from the start, int64.

    Args:
        data: the indices; with several sizes its last axis runs over them.
        sizes: sizes of the indexed axes.

    Raises:
        Refused: an index lies outside of [-size, size).
    """
    limit = np.asarray(sizes, np.int64)
    data = data.astype(np.int64)
    if np.any(data < -limit) or np.any(data >= limit):
        raise Refused(f"an index is outside of [-size, size) for size {limit.tolist()}", "correct it in the model")
    return np.where(data < 0, data + limit, data)


def computed_positions(
    ctx: Context, like: ir.Value, value: ir.Value, data: Tensor, sizes: int | Sequence[int]
) -> Tensor:
    """Indices computed at run time, those below 0 counted from the end; kernels report what is still outside.

    Args:
        ctx: the lowering's state.
        like: the value that the steps are named after.
        value: the indices.
        data: their tensor.
        sizes: as in `constant_positions`.
    """
    if never_negative(value):
        return data
    limit = ctx.builder.constant("const/size", np.asarray(sizes, data.dtype))
    below = ctx.step(like, "LESS", [data, ctx.number(0, data.dtype)], "LessOptions", dtype="bool")
    raised = ctx.step(like, "ADD", [data, limit], "AddOptions")
    return ctx.step(like, "SELECT_V2", [below, raised, data], "SelectV2Options", dtype=data.dtype)

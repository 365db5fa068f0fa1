"""Indices as LiteRT's kernels want them: never negative, constants are checked by `bounds.constant_positions`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.bounds import never_negative
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context


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

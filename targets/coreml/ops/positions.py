"""Indices as MIL's gathers and scatters want them from iOS 17 on: never negative; constants are checked now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.bounds import never_negative
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused


def constant_positions(data: Array, sizes: int | Sequence[int]) -> Array:
    """Constant indices counted from the start, int32.

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
    return np.where(data < 0, data + limit, data).astype(np.int32)


def positions(ctx: Context, value: ir.Value, sizes: int | Sequence[int]) -> Var | Array:
    """Indices counted from the start: an int32 array if they are constant, else computed.

    A computed one that is not in [-size, size) is undefined, as in ONNX.
    """
    constant = ctx.constant(value)
    if constant is not None:
        return constant_positions(constant, sizes)
    data = ctx.read(value)
    if never_negative(value):
        return data
    above = ctx.emit("add", x=data, y=np.asarray(sizes, np.int32))
    return ctx.emit("select", cond=ctx.emit("less", x=data, y=np.int32(0)), a=above, b=data)

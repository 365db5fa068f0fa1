"""Indices as MIL's gathers and scatters want them from iOS 17 on: never negative; constants are checked now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.bounds import constant_positions, never_negative
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var


def positions(ctx: Context, value: ir.Value, sizes: int | Sequence[int]) -> Var | Array:
    """Indices counted from the start: an int32 array if they are constant, else computed.

    A computed one that is not in [-size, size) is undefined, as in ONNX.
    """
    constant = ctx.constant(value)
    if constant is not None:
        return constant_positions(constant, sizes).astype(np.int32)
    data = ctx.read(value)
    if never_negative(value):
        return data
    above = ctx.emit("add", x=data, y=np.asarray(sizes, np.int32))
    return ctx.emit("select", cond=ctx.emit("less", x=data, y=np.int32(0)), a=above, b=data)

"""Integers of 8 and 16 bits, which a program computes in int32: what leaves their range wraps around as in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused

_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}


def bits_of(dtype: str) -> int:
    """Number of bits of an integer dtype, 32 for all that a program holds in int32 without wrapping."""
    return _BITS.get(dtype, 32)


def remainder(ctx: Context, x: Var, by: Any) -> Var:
    """x less the multiple of `by` below it, in int32.

    MIL's `mod` is documented so, and Core ML gives what C does: it is for numbers that are not negative only. Its
    `floor_div` rounds down on devices too.
    """
    return ctx.emit("sub", x=x, y=ctx.emit("mul", x=ctx.emit("floor_div", x=x, y=by), y=by))


def wrapped(ctx: Context, var: Var, dtype: str) -> Var:
    """The low bits of an int32 value, as a number of an 8 or 16-bit dtype; of any other dtype the value itself."""
    if dtype not in _BITS:
        return var
    size = 2 ** _BITS[dtype]
    if dtype.startswith("uint"):
        return remainder(ctx, var, np.int32(size))
    half = np.int32(size // 2)
    raised = remainder(ctx, ctx.emit("add", x=var, y=half), np.int32(size))
    return ctx.emit("sub", x=raised, y=half)


def refuse_wide_unsigned(dtype: str, why: str) -> None:
    """Declines what int32 has no number for.

    Raises:
        Refused: the dtype is uint32 or uint64.
    """
    if dtype in ("uint32", "uint64"):
        message = f"{why} of {dtype} can be a number beyond int32, and Core ML has none"
        raise Refused(message, "cast to int32 if the values fit", "unsupported-dtype")

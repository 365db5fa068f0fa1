"""Integers of 8 and 16 bits, which a program computes in int32: what leaves their range wraps around as in ONNX."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused

_BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16}


def bits_of(dtype: str) -> int:
    """Number of bits of an integer dtype, 32 for all that a program holds in int32 without wrapping."""
    return _BITS.get(dtype, 32)


def wrapped(ctx: Context, var: Var, dtype: str) -> Var:
    """The low bits of an int32 value, as a number of an 8 or 16-bit dtype; of any other dtype the value itself."""
    if dtype not in _BITS:
        return var
    size = 2 ** _BITS[dtype]
    if dtype.startswith("uint"):
        return ctx.emit("mod", x=var, y=np.int32(size))
    half = np.int32(size // 2)
    raised = ctx.emit("mod", x=ctx.emit("add", x=var, y=half), y=np.int32(size))
    return ctx.emit("sub", x=raised, y=half)


def refuse_wide_unsigned(dtype: str, why: str) -> None:
    """Declines what int32 has no number for.

    Raises:
        Refused: the dtype is uint32 or uint64.
    """
    if dtype in ("uint32", "uint64"):
        message = f"{why} of {dtype} can be a number beyond int32, and Core ML has none"
        raise Refused(message, "cast to int32 if the values fit", "unsupported-dtype")

"""Operators on bits, of which MIL has none: bits become an axis of zeros and ones, and are summed up again.

    x --> reshape(..., 1) --> floor_div(1, 2, 4, ...) --> modulo 2 --> combine --> mul(1, 2, 4, ...) --> reduce_sum

`floor_div` rounds down, which gives negative numbers the bits of two's complement. What has more than 32 bits
has numbers of int32 only, whose further bits are all equal to their sign.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_str
from edgeport.targets.coreml.context import MAX_RANK, Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.wraparound import bits_of, refuse_wide_unsigned, remainder, wrapped

_COMBINED = {"BitwiseAnd": "mul", "BitwiseOr": "maximum", "BitwiseXor": "not_equal"}


@lowers(*_COMBINED, inputs=2)
def bitwise(ctx: Context, node: ir.Node) -> None:
    """Bits as numbers: and is their product, or their maximum, exclusive or their difference."""
    y = node.outputs[0]
    dtype, shape = ctx.dtype(y), ctx.shape(y)
    count = bits_of(dtype)
    parts = [_bits(ctx, ctx.read(value), count) for value in node.inputs]
    combined = ctx.cast(ctx.emit(_COMBINED[node.op_type], x=parts[0], y=parts[1]), "int32")
    weights = 2 ** np.arange(count, dtype=np.int64)
    weights[-1] *= 1 if dtype.startswith("uint") and count < 32 else -1
    total = ctx.emit("reduce_sum", x=ctx.emit("mul", x=combined, y=weights.astype(np.int32)), axes=[-1])
    ctx.bind(y, ctx.reshape(total, shape))


def _bits(ctx: Context, x: Var, count: int) -> Var:
    """The bits of each element along a new last axis. 2^31 is no int32: the 32nd bit takes two divisions."""
    if len(x.shape) >= MAX_RANK:
        raise Refused(f"bits of {len(x.shape)} axes are not supported", "reshape it before", "unsupported-shape")
    powers = 2 ** np.minimum(np.arange(count), 30)
    shifted = ctx.emit("floor_div", x=ctx.reshape(x, (*x.shape, 1)), y=powers.astype(np.int32))
    if count == 32:
        shifted = ctx.emit("floor_div", x=shifted, y=np.asarray([1] * 31 + [2], np.int32))
    return remainder(ctx, shifted, np.int32(2))


@lowers("BitwiseNot")
def bitwise_not(ctx: Context, node: ir.Node) -> None:
    """-1 - x, of unsigned numbers the largest less x."""
    y = node.outputs[0]
    dtype = ctx.dtype(y)
    refuse_wide_unsigned(dtype, "the complement")
    top = 2 ** bits_of(dtype) - 1 if dtype.startswith("uint") else -1
    ctx.bind(y, ctx.emit("sub", x=np.int32(top), y=ctx.read(node.inputs[0])))


@lowers("BitShift", attributes=("direction",), inputs=2)
def bit_shift(ctx: Context, node: ir.Node) -> None:
    """The quotient by a power of two or the product with it."""
    y, direction = node.outputs[0], get_str(node, "direction", "")
    x, power = ctx.read(node.inputs[0]), ctx.emit("pow", x=np.int32(2), y=ctx.read(node.inputs[1]))
    if direction == "RIGHT":
        ctx.bind(y, ctx.emit("floor_div", x=x, y=power))
    elif direction == "LEFT":
        refuse_wide_unsigned(ctx.dtype(y), "a shift")
        ctx.bind(y, wrapped(ctx, ctx.emit("mul", x=x, y=power), ctx.dtype(y)))
    else:
        raise Refused(f"direction={direction!r} is unknown")

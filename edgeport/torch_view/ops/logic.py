"""Truth values and bits."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.integers import wrapped
from edgeport.torch_view.registry import Refused, lowers

_TWO = {
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
}


@lowers(*_TWO, inputs=2)
def two(ctx: Context, node: ir.Node) -> None:
    """Of two operands."""
    ctx.bind(node, _TWO[node.op_type](ctx.read(node, 0), ctx.read(node, 1)))


@lowers("Not")
def logical_not(ctx: Context, node: ir.Node) -> None:
    """Negation."""
    ctx.bind(node, torch.logical_not(ctx.read(node, 0)))


@lowers("BitwiseNot")
def bitwise_not(ctx: Context, node: ir.Node) -> None:
    """All bits of the dtype."""
    ctx.bind(node, wrapped(ctx, node.outputs[0], torch.bitwise_not(ctx.read(node, 0))))


@lowers("BitShift", inputs=2, attributes=("direction",))
def bit_shift(ctx: Context, node: ir.Node) -> None:
    """All bits are gone from the width on."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    direction, name = get_str(node, "direction", ""), ctx.input_dtype(node)
    if direction == "LEFT":
        shifted = wrapped(ctx, node.outputs[0], torch.bitwise_left_shift(x, y))
    elif direction == "RIGHT":
        shifted = _shifted_in(x, y) if name == "uint64" else torch.bitwise_right_shift(x, y)
    else:
        raise Refused(f"direction={direction!r} is unknown")
    bits = int(name.removeprefix("uint"))
    inside = torch.logical_and(torch.ge(y, 0), torch.lt(y, bits))
    ctx.bind(node, torch.where(inside, shifted, torch.zeros_like(shifted)))


def _shifted_in(x: Tensor, y: Tensor) -> Tensor:
    """To the right with zeros shifted in, where torch copies the sign."""
    kept = torch.sub(torch.full_like(y, 64), y)
    mask = torch.bitwise_not(torch.bitwise_left_shift(torch.full_like(y, -1), kept))
    return torch.bitwise_and(torch.bitwise_right_shift(x, y), mask)

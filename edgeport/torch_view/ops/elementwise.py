"""Element-wise arithmetic, comparisons and truth values."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.torch_view.context import Context
from edgeport.torch_view.registry import Refused, lowers

Handler = Callable[[Context, ir.Node], None]


def floats(ctx: Context, node: ir.Node, *indices: int) -> None:
    """Refuses anything but floating-point numbers in the inputs of these places, the first by default."""
    for index in indices or (0,):
        name = ctx.input_dtype(node, index)
        if not name.startswith("float"):
            raise Refused(f"{node.op_type} of {name} is not supported", "cast to float32")


def function(form: Callable[[Tensor], Tensor]) -> Handler:
    """The lowering of a function of one floating-point operand."""

    def handler(ctx: Context, node: ir.Node) -> None:
        floats(ctx, node)
        ctx.bind(node, form(ctx.read(node, 0)))

    return handler


lowers("Relu")(lambda ctx, node: ctx.bind(node, torch.relu(ctx.read(node, 0))))
lowers("Sigmoid")(function(torch.sigmoid))
lowers("Tanh")(function(torch.tanh))


@lowers("Identity")
def identity(ctx: Context, node: ir.Node) -> None:
    """Nothing at all."""
    ctx.bind(node, ctx.read(node, 0))


def to(x: Tensor, dtype: torch.dtype) -> Tensor:
    """In another dtype."""
    made: Tensor = torch.ops.aten.to(x, dtype)
    return made

"""Remainders with the divisor's sign, which the runtime's kernel gives the dividend's where both are integers."""

from __future__ import annotations

import onnx_ir as ir
import torch

from edgeport.passes.edit import get_int
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.torch_view.context import Context


@lowers("Mod", inputs=2, attributes=("fmod",))
def mod(ctx: Context, node: ir.Node) -> None:
    """The dividend's remainder, moved by the divisor where their signs differ."""
    if get_int(node, "fmod", 0) or ctx.input_dtype(node) not in ("int8", "int16", "int32", "int64"):
        VIEW["Mod"].handler(ctx, node)
        return
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    rest = torch.fmod(x, y)
    apart = torch.logical_and(torch.ne(rest, 0), torch.ne(torch.lt(rest, 0), torch.lt(y, 0)))
    ctx.bind(node, torch.where(apart, torch.add(rest, y), rest))

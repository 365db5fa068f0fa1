"""Conversions between dtypes."""

from __future__ import annotations

import onnx_ir as ir
import torch

from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.integers import wrapped
from edgeport.torch_view.registry import lowers


@lowers("Cast", attributes=("round_mode", "saturate", "to"))
def cast(ctx: Context, node: ir.Node) -> None:
    """`saturate` and `round_mode` are for 8-bit floats, which the view has none of."""
    x, source, out = ctx.read(node, 0), ctx.input_dtype(node), node.outputs[0]
    target = ctx.dtype(out)
    if source == target:
        ctx.bind(node, x)
    elif source == "uint64" and target.startswith("float"):
        ctx.bind(node, to(to(x, torch.uint64), ctx.held(out)))
    elif source.startswith("float") and target == "uint64":
        ctx.bind(node, to(to(x, torch.uint64), torch.int64))
    else:
        ctx.bind(node, wrapped(ctx, out, to(x, ctx.held(out))))

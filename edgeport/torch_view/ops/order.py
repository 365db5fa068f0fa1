"""Orders and running sums."""

from __future__ import annotations

import onnx_ir as ir
import torch

from edgeport.passes.edit import get_int
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.integers import ordered, wrapped
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import size


@lowers("TopK", inputs=2, outputs=2, attributes=("axis", "largest", "sorted"))
def top_k(ctx: Context, node: ir.Node) -> None:
    """The first of all in a stable order, as of equal ones that with the lower index comes first."""
    axis, count = get_int(node, "axis", -1) % ctx.rank(node.inputs[0]), ctx.constant_ints(node, 1)
    length = size(node.inputs[0], axis)
    if count is None or count[0] > length:
        raise Refused(f"k does not fit an axis of size {length}")
    descending = bool(get_int(node, "largest", 1))
    keys = ordered(ctx, node.inputs[0], ctx.read(node, 0))
    order = torch.argsort(keys, dim=axis, descending=descending, stable=True)
    order = torch.narrow(order, axis, 0, count[0])
    ctx.bind(node, torch.gather(ctx.read(node, 0), axis, order), order)


@lowers("CumSum", inputs=2, attributes=("exclusive", "reverse"))
def cumulative_sum(ctx: Context, node: ir.Node) -> None:
    """Without the element itself it is the sum of what is moved by one."""
    x, axes, rank = ctx.read(node, 0), ctx.constant_ints(node, 1), ctx.rank(node.inputs[0])
    if axes is None:
        raise Refused("the axis is missing")
    axis = axes[0] % rank
    length = size(node.inputs[0], axis)
    backwards = bool(get_int(node, "reverse", 0))
    if backwards:
        x = torch.flip(x, [axis])
    if get_int(node, "exclusive", 0) and length:
        widths = [0, 0] * (rank - 1 - axis) + [1, 0]
        x = torch.nn.functional.pad(torch.narrow(x, axis, 0, length - 1), widths)
    sums = wrapped(ctx, node.outputs[0], torch.cumsum(x, axis, dtype=ctx.held(node.outputs[0])))
    ctx.bind(node, torch.flip(sums, [axis]) if backwards else sums)

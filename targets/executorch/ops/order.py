"""The k largest, of which the runtime's kernel promises no order where they are equal."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from edgeport.passes.edit import get_int
from edgeport.targets.executorch.registry import Refused, lowers
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.integers import ordered

_MOST = 2**26
"""Comparisons of one TopK, each of which is an element of a tensor."""


@lowers("TopK", inputs=2, outputs=2, attributes=("axis", "largest", "sorted"))
def top_k(ctx: Context, node: ir.Node) -> None:
    """Values as the kernel orders them; of equal ones the place of the first, then that of the second, as ONNX says.

    An element is the r-th of its value among the largest where it is the r-th of that value in the axis.
    """
    data, count = node.inputs[0], ctx.constant_ints(node, 1)
    assert data is not None
    shape = ctx.shape(data)
    rank = len(shape)
    axis = get_int(node, "axis", -1) % rank
    length = shape[axis]
    if count is None or count[0] > length:
        raise Refused(f"k does not fit an axis of size {length}")
    (k,) = count
    rows = int(np.prod(shape, dtype=np.int64)) // max(length, 1)
    if rows * k * max(length, k) > _MOST:
        raise Refused(f"the {k} largest of {length} take {rows * k * length:,} comparisons", "take fewer")
    turn = [*(a for a in range(rank) if a != axis), axis]
    back = [turn.index(a) for a in range(rank)]
    x = torch.permute(ctx.read(node, 0), turn)
    keys = torch.permute(ordered(ctx, data, ctx.read(node, 0)), turn)
    best = torch.topk(keys, k, -1, bool(get_int(node, "largest", 1)), True)[0]
    one = torch.unsqueeze(best, -1)
    earlier = ctx.constant(np.tril(np.ones((k, k), np.int64)), "earlier")
    number = torch.sum(torch.mul(to(torch.eq(one, torch.unsqueeze(best, -2)), torch.int64), earlier), [-1], True)
    same = to(torch.eq(one, torch.unsqueeze(keys, -2)), torch.int64)
    found = torch.mul(same, to(torch.eq(torch.cumsum(same, -1), number), torch.int64))
    places = torch.sum(torch.mul(found, ctx.constant(np.arange(length, dtype=np.int64), "places")), [-1])
    ctx.bind(node, torch.permute(torch.gather(x, -1, places), back), torch.permute(places, back))

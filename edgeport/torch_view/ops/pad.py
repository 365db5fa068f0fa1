"""Pad in all its modes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgeport.passes.edit import get_str
from edgeport.sample import Array
from edgeport.torch_view.context import Context
from edgeport.torch_view.registry import Refused, lowers
from edgeport.torch_view.sizes import size

_Widths = dict[int, tuple[int, int]]
"""Axis -> elements before and behind it."""


@lowers("Pad", inputs=4, attributes=("mode",))
def padded(ctx: Context, node: ir.Node) -> None:
    """Negative widths cut first; repeated elements are gathered, so that their gradients add up."""
    x, rank, widths = ctx.read(node, 0), ctx.rank(node.inputs[0]), ctx.constant_ints(node, 1)
    mode = get_str(node, "mode", "constant")
    if widths is None or mode not in ("constant", "edge", "reflect", "wrap"):
        raise Refused(f"mode={mode!r} is unknown")
    axes = [a % rank for a in ctx.constant_ints(node, 3) or range(rank)]
    pairs = {
        a: p for a, p in zip(axes, zip(widths[: len(axes)], widths[len(axes) :], strict=True), strict=True) if any(p)
    }
    lengths = {axis: size(node.inputs[0], axis) for axis, pair in pairs.items() if min(pair) < 0 or mode != "constant"}
    for axis, (begin, end) in pairs.items():
        if min(begin, end) < 0:
            start = min(max(-begin, 0), lengths[axis])
            lengths[axis] = max(lengths[axis] - start - max(-end, 0), 0)
            x = torch.narrow(x, axis, start, lengths[axis])
    grown = {a: (max(b, 0), max(e, 0)) for a, (b, e) in pairs.items() if max(b, e) > 0}
    if mode == "constant":
        value = 0.0 if not ctx.has(node, 2) else ctx.constant_of(node.inputs[2])
        x = _with_computed(ctx, node, x, grown, rank) if value is None else _filled(x, grown, np.asarray(value), rank)
        ctx.bind(node, x)
        return
    for axis, pair in grown.items():
        if lengths[axis] == 0:
            raise Refused(f"mode={mode!r} has nothing to repeat along an axis of size 0")
        numbers = np.pad(np.arange(lengths[axis]), pair, mode=mode)  # type: ignore[call-overload]
        x = torch.index_select(x, axis, ctx.constant(numbers, "padded"))
    ctx.bind(node, x)


def _flat(grown: _Widths, rank: int) -> list[int]:
    """Widths as torch takes them: pairs from the last axis on."""
    return [width for axis in reversed(range(rank)) for width in grown.get(axis, (0, 0))]


def _filled(x: Tensor, grown: _Widths, value: Array, rank: int) -> Tensor:
    """Padded with a constant number."""
    number = value.reshape(-1)[0]
    number = number.astype(np.int64) if value.dtype == np.uint64 else number  # the bits that the view holds
    return torch.constant_pad_nd(x, _flat(grown, rank), number.item()) if grown else x


def _with_computed(ctx: Context, node: ir.Node, x: Tensor, grown: _Widths, rank: int) -> Tensor:
    """Padded with a number that the graph computes: chosen where ones end."""
    if not grown:
        return x
    inside = torch.constant_pad_nd(torch.ones_like(x, dtype=torch.bool), _flat(grown, rank))
    return torch.where(inside, torch.constant_pad_nd(x, _flat(grown, rank)), torch.reshape(ctx.read(node, 2), []))

"""Reductions over axes."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import lowers


@lowers("ReduceMean", attributes=("keepdims", "noop_with_empty_axes"), inputs=2, int8=True)
def reduce_mean(ctx: Context, node: ir.Node) -> None:
    """MEAN."""
    _reduce(ctx, node, "MEAN")


def _reduce(ctx: Context, node: ir.Node, code: str) -> None:
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    rank, keep = ctx.rank(x), bool(int_attr(node, "keepdims", 1))
    given = ctx.constant_ints(node, 1)
    axes = {a % rank for a in given} if given else set(range(rank))
    layout = ctx.full_layout(x)
    data = ctx.read(node, x, layout)
    positions = [i for i, axis in enumerate(layout) if axis in axes]
    kept = [a for a in range(rank) if a not in axes]
    out_layout = layout if keep else tuple(kept.index(a) for a in layout if a not in axes)
    ctx.emit(
        code, [data, ctx.ints("axes", positions)], [ctx.output(node, out_layout, y)], "ReducerOptions", keepDims=keep
    )

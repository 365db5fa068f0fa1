"""Pooling: NHWC in, NHWC out."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import lowers


@lowers("GlobalAveragePool", int8=True)
def global_average_pool(ctx: Context, node: ir.Node) -> None:
    """MEAN over the spatial axes, in whatever order they are stored."""
    _global(ctx, node, "MEAN")


@lowers("GlobalMaxPool", int8=True)
def global_max_pool(ctx: Context, node: ir.Node) -> None:
    """REDUCE_MAX over the spatial axes."""
    _global(ctx, node, "REDUCE_MAX")


def _global(ctx: Context, node: ir.Node, code: str) -> None:
    x = node.inputs[0]
    assert x is not None
    layout = ctx.full_layout(x)
    axes = [position for position, axis in enumerate(layout) if axis >= 2]
    data = ctx.read(node, x, layout)
    ctx.emit(code, [data, ctx.ints("axes", axes)], [ctx.output(node, layout)], "ReducerOptions", keepDims=True)

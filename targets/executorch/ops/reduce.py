"""Means over the planes of images, for which XNNPACK has kernels."""

from __future__ import annotations

import onnx_ir as ir
import torch

from edgeport.targets.executorch.ops.quantization import rounded_early
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.targets.executorch.scheme import means_planes
from edgeport.torch_view.context import Context


@lowers("GlobalAveragePool")
def global_average(ctx: Context, node: ir.Node) -> None:
    """The mean of each plane."""
    _mean(ctx, node)


@lowers("ReduceMean", inputs=2, attributes=("keepdims", "noop_with_empty_axes"))
def mean(ctx: Context, node: ir.Node) -> None:
    """The kernel keeps the axes; they go away behind it."""
    _mean(ctx, node)


def _mean(ctx: Context, node: ir.Node) -> None:
    if ctx.input_dtype(node) != "float32" or not means_planes(node):
        VIEW[node.op_type].handler(ctx, node)
        return
    made, shape = torch.mean(ctx.read(node, 0), [2, 3], True), ctx.shape(node.outputs[0])
    if len(shape) < 4:
        made = torch.reshape(rounded_early(ctx, node, made), shape)
    ctx.bind(node, made)

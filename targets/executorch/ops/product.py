"""Products of matrices, in the forms that XNNPACK has kernels for."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch
import torch.nn.functional as F

from edgeport.passes.edit import get_int
from edgeport.targets.executorch.linear_layers import DYNAMIC, LINEAR
from edgeport.targets.executorch.ops.quantization import rounded_by_rows
from edgeport.targets.executorch.registry import VIEW, lowers
from edgeport.torch_view.context import Context


@lowers(LINEAR, inputs=3, attributes=(DYNAMIC,))
def linear(ctx: Context, node: ir.Node) -> None:
    """x W^T + b; where it is dynamic, x is quantized at run time."""
    x = ctx.read(node, 0)
    x = rounded_by_rows(x) if get_int(node, DYNAMIC, 0) else x
    ctx.bind(node, F.linear(x, ctx.read(node, 1), ctx.optional(node, 2)))


@lowers("MatMul", inputs=2)
def product(ctx: Context, node: ir.Node) -> None:
    """Stacks of matrices of one height as one stack: torch would expand both sides, for which there is no kernel."""
    if ctx.input_dtype(node) != "float32":
        VIEW["MatMul"].handler(ctx, node)
        return
    left, right = (ctx.shape(v) for v in node.inputs if v is not None)
    if left[:-2] != right[:-2] or len(left) < 3 or len(right) < 3:
        VIEW["MatMul"].handler(ctx, node)
        return
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    if len(left) == 3:
        ctx.bind(node, torch.bmm(x, y))
        return
    stack = math.prod(left[:-2])
    made = torch.bmm(torch.reshape(x, (stack, *left[-2:])), torch.reshape(y, (stack, *right[-2:])))
    ctx.bind(node, torch.reshape(made, ctx.shape(node.outputs[0])))

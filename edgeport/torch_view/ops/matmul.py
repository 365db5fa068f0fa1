"""Products of matrices."""

from __future__ import annotations

import onnx_ir as ir
import torch

from edgeport.passes.edit import get_float, get_int, get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.ops.integers import wrapped
from edgeport.torch_view.registry import lowers


@lowers("MatMul", inputs=2)
def product(ctx: Context, node: ir.Node) -> None:
    """torch broadcasts as ONNX does."""
    ctx.bind(node, wrapped(ctx, node.outputs[0], torch.matmul(ctx.read(node, 0), ctx.read(node, 1))))


@lowers("Gemm", inputs=3, attributes=("alpha", "beta", "transA", "transB"))
def gemm(ctx: Context, node: ir.Node) -> None:
    """alpha A B + beta C; a linear layer where it is one."""
    floats(ctx, node)
    x, y, z = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    alpha, beta = get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0)
    flipped = bool(get_int(node, "transB", 0))
    x = torch.permute(x, (1, 0)) if get_int(node, "transA", 0) else x
    bias = node.inputs[2] if z is not None else None
    if flipped and alpha == 1 and beta == 1 and (bias is None or ctx.shape(bias) == ctx.shape(node.outputs[0])[1:]):
        ctx.bind(node, torch.nn.functional.linear(x, y, z))
        return
    made = torch.matmul(x, torch.permute(y, (1, 0)) if flipped else y)
    made = made if alpha == 1 else torch.mul(made, alpha)
    ctx.bind(node, made if z is None else torch.add(made, z if beta == 1 else torch.mul(z, beta)))


@lowers("Einsum", inputs=None, attributes=("equation",))
def einsum(ctx: Context, node: ir.Node) -> None:
    """Where the graph still has one."""
    floats(ctx, node)
    equation = get_str(node, "equation", "").replace(" ", "")
    ctx.bind(node, torch.einsum(equation, [ctx.read(node, i) for i in range(len(node.inputs))]))

"""Products of matrices."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import matmul
from edgeport.targets.coreai.registry import lowers
from edgeport.targets.coreai.views import reshape, transpose, unsqueeze


@lowers("MatMul", inputs=2)
def product(ctx: Context, node: ir.Node) -> None:
    """Vectors become matrices of one row or column."""
    x, y = ctx.read(node, 0), ctx.read(node, 1)
    x = unsqueeze(x, 0) if x.rank == 1 else x
    y = unsqueeze(y, 1) if y.rank == 1 else y
    ctx.bind(node, reshape(matmul(x, y), ctx.shape(node.outputs[0])))


@lowers("Gemm", inputs=3, attributes=("alpha", "beta", "transA", "transB"))
def gemm(ctx: Context, node: ir.Node) -> None:
    """alpha A B + beta C."""
    x, y, z = ctx.read(node, 0), ctx.read(node, 1), ctx.optional(node, 2)
    x = transpose(x, (1, 0)) if get_int(node, "transA", 0) else x
    y = transpose(y, (1, 0)) if get_int(node, "transB", 0) else y
    made, alpha, beta = matmul(x, y), get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0)
    made = made if alpha == 1 else made * alpha
    ctx.bind(node, made if z is None else made + (z if beta == 1 else z * beta))

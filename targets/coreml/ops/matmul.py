"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.heads import as_image
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import lowers
from edgeport.targets.coreml.weights import bias_of, weight


@lowers("MatMul", inputs=2)
def matmul(ctx: Context, node: ir.Node) -> None:
    """`linear` with its bias where the right operand is a constant matrix, else `matmul`."""
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None
    assert b is not None
    if ctx.constant(b) is not None and ctx.rank(b) == 2 and ctx.dtype(b) == "float32":
        _linear(ctx, node, a)
    else:
        _matmul(ctx, node, a, b)


def _linear(ctx: Context, node: ir.Node, x: ir.Value) -> None:
    group = ctx.groups[node]
    if group.bias is not None and group.bias in ctx.wide:
        ctx.width = "float32"
    image = as_image(ctx, x)
    ctx.lifted = image is not None
    outputs, inputs = ctx.shape(node.outputs[0])[-1], ctx.shape(x)[-1]
    kernel = weight(ctx, node, 1, perm=(1, 0), shape=(outputs, inputs, 1, 1) if ctx.lifted else None)
    bias = bias_of(ctx, node, outputs)
    given = {"weight": kernel, **({} if bias is None else {"bias": bias})}
    out = ctx.emit("linear", x=ctx.read(x), **given) if image is None else ctx.emit("conv", x=image, **given)
    ctx.bind((group.bias or node).outputs[0], out)


def _matmul(ctx: Context, node: ir.Node, a: ir.Value, b: ir.Value) -> None:
    left, turned_left = _operand(ctx, node, 0, a)
    right, turned_right = _operand(ctx, node, 1, b)
    y = node.outputs[0]
    if ctx.rank(a) == 1:
        left = ctx.reshape(left, (1, *left.shape))
    if ctx.rank(b) == 1:
        right = ctx.reshape(right, (*right.shape, 1))
    turns: dict[str, Any] = {"transpose_x": np.bool_(turned_left), "transpose_y": np.bool_(turned_right)}
    ctx.bind(y, ctx.reshape(ctx.emit("matmul", x=left, y=right, **turns), ctx.shape(y)))


def _operand(ctx: Context, node: ir.Node, index: int, value: ir.Value) -> tuple[Var, bool]:
    """An operand, and whether its last two axes have to be swapped: a Transpose that only does that is not needed."""
    if ctx.constant(value) is not None:
        return (weight(ctx, node, index) if ctx.dtype(value) == "float32" else ctx.read(value)), False
    before, rank = value.producer(), ctx.rank(value)
    plain = ctx.quant(value) is None and rank >= 2
    if plain and before is not None and before.op_type == "Transpose" and before.domain == "":
        source, perm = before.inputs[0], before.attributes.get("perm")
        swapped = (*range(rank - 2), rank - 1, rank - 2)
        order = tuple(reversed(range(rank))) if perm is None else tuple(perm.as_ints())
        if source is not None and order == swapped and (ctx.is_bound(source) or ctx.constant(source) is not None):
            return ctx.read(source), True
    return ctx.read(value), False

"""Element-wise operators of two and more operands, with numpy broadcasting."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, aligned
from edgeport.targets.tflite.registry import lowers


def operands(ctx: Context, node: ir.Node) -> tuple[list[Tensor], Layout]:
    """All inputs in one layout of the output, ready to broadcast."""
    values = [v for v in node.inputs if v is not None]
    y = ctx.result(node)
    shape = ctx.shape(y)
    layout = ctx.common_layout(values, shape)
    return [ctx.read(node, v, aligned(layout, ctx.rank(v), len(shape))) for v in values], layout


@lowers("Add", inputs=2, int8=True)
def add(ctx: Context, node: ir.Node) -> None:
    """ADD."""
    _fused(ctx, node, "ADD", "AddOptions")


@lowers("Sub", inputs=2, int8=True)
def sub(ctx: Context, node: ir.Node) -> None:
    """SUB."""
    _fused(ctx, node, "SUB", "SubOptions")


@lowers("Mul", inputs=2, int8=True)
def mul(ctx: Context, node: ir.Node) -> None:
    """MUL."""
    _fused(ctx, node, "MUL", "MulOptions")


def _fused(ctx: Context, node: ir.Node, code: str, options_type: str) -> None:
    inputs, layout = operands(ctx, node)
    out = ctx.output(node, layout)
    ctx.emit(code, inputs, [out], options_type, fusedActivationFunction=ctx.activation(node))

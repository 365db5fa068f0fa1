"""Element-wise operators of one operand: any layout in, the same layout out."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout
from edgeport.targets.tflite.layout_choice import common_layout


def operand(ctx: Context, node: ir.Node, index: int = 0) -> tuple[Tensor, Layout]:
    """An input in the layout in which it exists."""
    value = node.inputs[index]
    assert value is not None
    layout = common_layout(ctx, [value], ctx.shape(value))
    return ctx.read(node, value, layout), layout


def unary(ctx: Context, node: ir.Node, code: str, options_type: str | None = None, **options: Any) -> None:
    """One kernel, element by element."""
    x, layout = operand(ctx, node)
    ctx.emit(code, [x], [ctx.output(node, layout)], options_type, **options)


def same(ctx: Context, node: ir.Node) -> None:
    """Binds the output to the tensors of the first input: a node that changes nothing."""
    value = node.inputs[0]
    assert value is not None
    for form in ctx.forms(node, value):
        ctx.bind(node, node.outputs[0], form.tensor, form.layout)

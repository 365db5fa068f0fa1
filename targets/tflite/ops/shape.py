"""Operators that only rename axes."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.targets.tflite.attributes import ints_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import ADDED, completed, reshapable, reshaped, stored_shape, transposed
from edgeport.targets.tflite.registry import lowers


@lowers("Identity", int8=True)
def identity_op(ctx: Context, node: ir.Node) -> None:
    """Nothing: the same tensors under another name."""
    x = _first(node)
    for form in ctx.forms(node, x):
        ctx.bind(node, node.outputs[0], form.tensor, form.layout)


@lowers("Transpose", attributes=("perm",), int8=True)
def transpose(ctx: Context, node: ir.Node) -> None:
    """Nothing: the same tensors with another label. A kernel that needs another order asks for it later."""
    x = _first(node)
    perm = ints_attr(node, "perm") or tuple(reversed(range(ctx.rank(x))))
    for form in ctx.forms(node, x):
        ctx.bind(node, node.outputs[0], form.tensor, transposed(form.layout, perm))


@lowers("Reshape", attributes=("allowzero",), inputs=2, int8=True)
def reshape(ctx: Context, node: ir.Node) -> None:
    """A label where only axes of size 1 come or go, else a RESHAPE, with a TRANSPOSE only if data must move."""
    view(ctx, node)


@lowers("Flatten", attributes=("axis",), int8=True)
def flatten(ctx: Context, node: ir.Node) -> None:
    """As Reshape; the output's shape says it all."""
    view(ctx, node)


@lowers("Squeeze", inputs=2, int8=True)
def squeeze(ctx: Context, node: ir.Node) -> None:
    """As Reshape; the output's shape says it all."""
    view(ctx, node)


@lowers("Unsqueeze", inputs=2, int8=True)
def unsqueeze(ctx: Context, node: ir.Node) -> None:
    """As Reshape; the output's shape says it all."""
    view(ctx, node)


def view(ctx: Context, node: ir.Node) -> None:
    """Binds the output to the input's elements in ONNX order under the output's shape."""
    x, y = _first(node), node.outputs[0]
    shape, out_shape = ctx.shape(x), ctx.shape(y)
    forms = ctx.forms(node, x)
    large, out_large = [a for a, d in enumerate(shape) if d != 1], [a for a, d in enumerate(out_shape) if d != 1]
    if [shape[a] for a in large] == [out_shape[a] for a in out_large]:
        renamed = dict(zip(large, out_large, strict=True))
        for form in forms:
            ctx.bind(node, y, form.tensor, tuple(renamed.get(a, ADDED) for a in form.layout))
        return
    form = next((f for f in forms if reshaped(shape, out_shape, f.layout) is not None), forms[0])
    target = reshaped(shape, out_shape, form.layout)
    tensor = form.tensor
    if target is None:
        layout = reshapable(shape, out_shape, form.layout)
        tensor = ctx.stored(x, layout, form.tensor.quant is not None)
        target = reshaped(shape, out_shape, layout)
    assert target is not None
    target = completed(target, len(out_shape))
    out = ctx.builder.tensor(ctx.name(y, target), stored_shape(out_shape, target), tensor.dtype, tensor.quant)
    ctx.reshape(tensor, out)
    ctx.bind(node, y, out, target)


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value

"""Convolutions over one to three spatial axes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.products import multiplied, spread
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.weights import bias_of, weight
from edgeport.targets.coreml.window import facts, uncropped


@lowers("Conv", attributes=("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"), inputs=3)
def conv(ctx: Context, node: ir.Node) -> None:
    """One `conv` with its bias."""
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert w is not None
    filters, shape = ctx.shape(w), ctx.shape(x)
    if len(shape) not in (3, 4, 5):
        raise Refused(f"{len(shape) - 2} spatial dimensions are not supported; 1 to 3 are", code="unsupported-shape")
    win = uncropped(node, shape[2:], ctx.shape(y)[2:], filters[2:])
    dilations = win.dilations
    kernel = weight(ctx, node, 1)
    if ctx.constant(w) is None:
        for axis, (taps, step) in enumerate(zip(filters[2:], dilations, strict=True), start=2):
            if step > 1 and taps > 1:  # conv takes computed weights without dilations only
                kernel = multiplied(ctx, kernel, spread(taps, step), axis)
        dilations = (1,) * len(dilations)
    bias = bias_of(ctx, node, filters[0])
    out = ctx.emit(
        "conv",
        x=ctx.read(x),
        weight=kernel,
        dilations=np.asarray(dilations, np.int32),
        groups=np.int32(get_int(node, "group", 1)),
        **({} if bias is None else {"bias": bias}),
        **facts(win),
    )
    ctx.bind(y, with_computed_bias(ctx, node, out, bias))


def with_computed_bias(ctx: Context, node: ir.Node, out: Var, bias: Var | None) -> Var:
    """Adds the third input where it is computed at run time."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None or value is None:
        return out
    column = ctx.reshape(ctx.read(value), (1, out.shape[1], *(1,) * (len(out.shape) - 2)))
    return ctx.emit("add", x=out, y=column)

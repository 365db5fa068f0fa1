"""LRN, the normalization across channels of AlexNet and GoogLeNet."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.products import multiplied
from edgeport.targets.coreml.registry import lowers


@lowers("LRN", attributes=("alpha", "beta", "bias", "size"))
def lrn(ctx: Context, node: ir.Node) -> None:
    """`local_response_norm` of odd sizes; of even ones MIL does not say which neighbours count.

    There x / (bias + alpha / size * sum of squares of the neighbours) ^ beta, the sum by a band matrix.
    """
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape, size = ctx.shape(x), get_int(node, "size", 1)
    alpha, beta, bias = (get_float(node, n, d) for n, d in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    data = ctx.read(x)
    if size % 2:
        view = shape if len(shape) in (3, 4) else (*shape[:2], math.prod(shape[2:]), 1)
        facts = {"alpha": ctx.number(alpha), "beta": ctx.number(beta), "k": ctx.number(bias)}
        out = ctx.emit("local_response_norm", x=ctx.reshape(data, view), size=np.int32(size), **facts)
        ctx.bind(y, ctx.reshape(out, shape))
        return
    channel = np.arange(shape[1])
    distance = channel[None] - channel[:, None]
    near = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    total = multiplied(ctx, ctx.emit("square", x=data), near * (alpha / size), 1)
    power = ctx.emit("pow", x=ctx.emit("add", x=total, y=ctx.number(bias)), y=ctx.number(beta))
    ctx.bind(y, ctx.emit("real_div", x=data, y=power))

"""Matrix products: FULLY_CONNECTED with constant weights, BATCH_MATMUL otherwise."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import identity
from edgeport.targets.tflite.ops.conv import add_bias
from edgeport.targets.tflite.registry import lowers


@lowers("MatMul", inputs=2, int8=True)
def matmul(ctx: Context, node: ir.Node) -> None:
    """x[..., K] @ W[K, N] constant -> FULLY_CONNECTED, anything else -> BATCH_MATMUL."""
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None
    assert w is not None
    weight = ctx.constant(w)
    if weight is not None and weight.ndim == 2 and ctx.constant(x) is None:
        _fully_connected(ctx, node, x, w)
    else:
        raise NotImplementedError


def _fully_connected(ctx: Context, node: ir.Node, x: ir.Value, w: ir.Value) -> None:
    rank = ctx.rank(x)
    rows = ctx.row_orders.get(x)
    data = ctx.read(node, x)

    def arrange(a: Array) -> Array:
        return (a if rows is None else a[rows]).T

    kernel = ctx.weights(node, w, arrange, axis=0)
    out_channels = ctx.shape(w)[1]
    bias = add_bias(ctx, node, data, kernel, out_channels) if ctx.groups[node].bias_value is not None else None
    ctx.emit(
        "FULLY_CONNECTED",
        [data, kernel, bias],
        [ctx.output(node, identity(rank))],
        "FullyConnectedOptions",
        fusedActivationFunction=ctx.activation(node),
        keepNumDims=rank != 2,
        asymmetricQuantizeInputs=data.quant is None and kernel.quant is not None,
    )

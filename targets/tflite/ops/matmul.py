"""Matrix products: FULLY_CONNECTED with constant weights, BATCH_MATMUL otherwise."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import ADDED, identity
from edgeport.targets.tflite.layout_choice import cheaper, full_layout
from edgeport.targets.tflite.ops.activation import last_axis_layout
from edgeport.targets.tflite.ops.conv import add_bias
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.weights import planned_weights


@lowers("MatMul", inputs=2, int8=True)
def matmul(ctx: Context, node: ir.Node) -> None:
    """Constant 2-D weights on either side -> FULLY_CONNECTED, anything else -> BATCH_MATMUL."""
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None
    assert b is not None
    if _is_weight(ctx, b) and ctx.constant(a) is None:
        _fully_connected(ctx, node, a, b, contracted=-1)
    elif not ctx.int8(node) and _is_weight(ctx, a) and ctx.constant(b) is None and ctx.rank(b) >= 2:
        _fully_connected(ctx, node, b, a, contracted=-2)
    else:
        _batch_matmul(ctx, node, a, b)


def _is_weight(ctx: Context, value: ir.Value) -> bool:
    data = ctx.constant(value)
    return data is not None and data.ndim == 2 and data.dtype == "float32"


def _fully_connected(ctx: Context, node: ir.Node, x: ir.Value, w: ir.Value, contracted: int) -> None:
    """x @ W where `contracted` is -1; W @ x where it is -2, which is the same product with the axes of x renamed."""
    rank = ctx.rank(x)
    layout = last_axis_layout(ctx, x, contracted)
    rows = ctx.row_orders.get(x)
    data = ctx.read(node, x, layout)
    quant = ctx.plan.qparams(w.name)
    if rows is not None and quant is not None and quant.block is not None:  # blocks hold neighbours in ONNX order
        data, rows = _in_order(ctx, x, data, rows), None
    if rank == 1:
        data = _reshaped(ctx, ctx.result(node), data, (1, *data.shape))

    def arrange(a: Array) -> Array:
        a = a.T if contracted == -1 else a
        return a if rows is None else a[:, rows]

    kernel = planned_weights(ctx, node, w, arrange, axis=0)
    channels = ctx.shape(w)[1 if contracted == -1 else 0]
    bias = add_bias(ctx, node, data, kernel, channels) if ctx.groups[node].bias_value is not None else None
    ctx.emit(
        "FULLY_CONNECTED",
        [data, kernel, bias],
        [ctx.output(node, (ADDED, 0) if rank == 1 else layout)],
        "FullyConnectedOptions",
        fusedActivationFunction=ctx.activation(node),
        keepNumDims=rank > 2,
        asymmetricQuantizeInputs=data.quant is None and kernel.quant is not None,
    )


def _in_order(ctx: Context, x: ir.Value, data: Tensor, rows: Array) -> Tensor:
    """The elements of the last axis in ONNX order."""
    out = ctx.temporary(x, "in_order", data.shape, data.dtype, data.quant)
    where = ctx.ints("index", np.argsort(rows).tolist())
    ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=len(data.shape) - 1, batchDims=0)
    return out


def _batch_matmul(ctx: Context, node: ir.Node, a: ir.Value, b: ir.Value) -> None:
    if len(ctx.groups[node].nodes) > 1:
        raise Refused("a product of constants with a bias is not supported", "fold it before the export")
    y = ctx.result(node)
    rank = max(ctx.rank(a), ctx.rank(b), 2)
    shape = ctx.shape(y)
    left = ctx.read(node, a)
    right, transposed = _right(ctx, node, b)
    if right is left and not transposed:  # a product of a transposed tensor with itself is wrong in XNNPACK (2.3.0)
        right = _reshaped(ctx, y, right, right.shape)
    if ctx.rank(a) == 1:
        left = _reshaped(ctx, y, left, (1, *left.shape))
    if ctx.rank(b) == 1:
        right = _reshaped(ctx, y, right, (*right.shape, 1))
    full = list(shape)
    if ctx.rank(a) == 1:
        full.insert(len(full) if ctx.rank(b) == 1 else len(full) - 1, 1)
    if ctx.rank(b) == 1:
        full.append(1)
    assert len(full) == rank
    vector = ctx.rank(a) == 1 or ctx.rank(b) == 1
    quant = ctx.quant(node, y)
    out = ctx.temporary(y, "matrix", full, left.dtype, quant) if vector else ctx.output(node, identity(rank))
    ctx.emit("BATCH_MATMUL", [left, right], [out], "BatchMatMulOptions", adjX=False, adjY=transposed)
    if vector:
        ctx.reshape(out, ctx.output(node))


def _right(ctx: Context, node: ir.Node, b: ir.Value) -> tuple[Tensor, bool]:
    """The right operand, transposed by the kernel itself where it is stored so or has to move anyway."""
    rank = ctx.rank(b)
    if rank < 2 or ctx.constant(b) is not None:
        return ctx.read(node, b), False
    plain = identity(rank)
    swapped = (*plain[:-2], rank - 1, rank - 2)
    # Where the operand has to move in any case, whole rows move faster than single elements: prefer the form
    # in which the last axis stays last.
    last = full_layout(ctx, b)[-1]
    layout = cheaper(ctx, b, swapped, plain) if last == rank - 2 else cheaper(ctx, b, plain, swapped)
    return ctx.read(node, b, layout), layout == swapped


def _reshaped(ctx: Context, y: ir.Value, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    out = ctx.temporary(y, "reshape", shape, tensor.dtype, tensor.quant)
    ctx.reshape(tensor, out)
    return out

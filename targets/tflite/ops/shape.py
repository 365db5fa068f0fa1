"""Operators that only rename axes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr, ints_attr, string_attr
from edgeport.targets.tflite.context import Context, Stored
from edgeport.targets.tflite.layout import (
    ADDED,
    channels_last,
    completed,
    large_axes,
    reshapable,
    reshaped,
    stored_shape,
    transposed,
)
from edgeport.targets.tflite.ops.conv import NHWC
from edgeport.targets.tflite.ops.unary import same
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("Identity", int8=True)
def identity_op(ctx: Context, node: ir.Node) -> None:
    """Nothing: the same tensors under another name."""
    same(ctx, node)


@lowers("Transpose", attributes=("perm",), int8=True)
def transpose(ctx: Context, node: ir.Node) -> None:
    """Nothing: the same tensors with another label. A kernel that needs another order asks for it later."""
    x = _first(node)
    perm = ints_attr(node, "perm") or tuple(reversed(range(ctx.rank(x))))
    if len(perm) != ctx.rank(x):
        raise Refused(f"attribute perm has {len(perm)} axes, its input has {ctx.rank(x)}")
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
    if math.prod(shape) != math.prod(out_shape):
        raise Refused(f"the shape {list(out_shape)} declared for its output does not hold {list(shape)}")
    forms = ctx.forms(node, x)
    large, out_large = [a for a, d in enumerate(shape) if d != 1], [a for a, d in enumerate(out_shape) if d != 1]
    if [shape[a] for a in large] == [out_shape[a] for a in out_large]:
        renamed = dict(zip(large, out_large, strict=True))
        for form in forms:
            ctx.bind(node, y, form.tensor, tuple(renamed.get(a, ADDED) for a in form.layout))
        return
    if _flattened(ctx, node, forms[0]):
        return
    form = next((f for f in forms if reshaped(shape, out_shape, f.layout) is not None), forms[0])
    target = reshaped(shape, out_shape, form.layout)
    tensor = form.tensor
    if target is None:
        layout = reshapable(shape, out_shape, form.layout, _meets_images(ctx, y))
        tensor = ctx.stored(x, layout, form.tensor.quant is not None)
        target = reshaped(shape, out_shape, layout)
    assert target is not None
    target = completed(target, len(out_shape))
    out = ctx.builder.tensor(ctx.name(y, target), stored_shape(out_shape, target), tensor.dtype, tensor.quant)
    ctx.reshape(tensor, out)
    ctx.bind(node, y, out, target)


_IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "Resize")


def _meets_images(ctx: Context, y: ir.Value) -> bool:
    """Whether a kernel of images reads the value, or an operator that also reads an image."""
    rank = ctx.rank(y)
    if rank < 3:
        return False
    for reader, _ in y.uses():
        if reader.op_type in _IMAGES:
            return True
        others = [v for v in reader.inputs if v is not None and v is not y and ctx.constant(v) is None]
        for other in others:
            maker = other.producer()
            if channels_last(rank) in ctx.layouts(other) or (maker is not None and maker.op_type in _IMAGES):
                return True
    return False


def _flattened(ctx: Context, node: ir.Node, form: Stored) -> bool:
    """Flattens an image as it is stored, where only constant matrix products read it: they permute their rows.

    x (NHWC) -> Flatten -> MatMul(W)        RESHAPE -> FULLY_CONNECTED(W with its rows in NHWC order)
    """
    x, y = _first(node), node.outputs[0]
    shape, out_shape = ctx.shape(x), ctx.shape(y)
    if reshaped(shape, out_shape, form.layout) is not None or y.is_graph_output() or not y.uses():
        return False
    if not all(use.idx == 0 and use.node.op_type == "MatMul" and _rows(use.node) == out_shape[-1] for use in y.uses()):
        return False
    order = large_axes(shape, form.layout)
    split = next((i for i in range(len(order) + 1) if math.prod(shape[a] for a in order[i:]) == out_shape[-1]), None)
    if (
        split is None
        or order[:split] != tuple(sorted(order[:split]))
        or max(order[:split], default=-1) > min(order[split:])
    ):
        return False
    inner = sorted(order[split:])
    index = np.arange(out_shape[-1]).reshape([shape[a] for a in inner])
    ctx.row_orders[y] = index.transpose([inner.index(a) for a in order[split:]]).reshape(-1)
    out = ctx.builder.tensor(f"{y.name}/flat", out_shape, form.tensor.dtype, form.tensor.quant)
    ctx.reshape(form.tensor, out)
    ctx.bind(node, y, out, tuple(range(len(out_shape))))
    return True


def _rows(matmul: ir.Node) -> int | None:
    """Rows of a MatMul's constant weights."""
    weight = matmul.inputs[1]
    if weight is None or weight.const_value is None or len(weight.const_value.shape) != 2:
        return None
    return int(weight.const_value.numpy().shape[0])


def _first(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None
    return value


@lowers("DepthToSpace", attributes=("blocksize", "mode"), int8=True)
def depth_to_space(ctx: Context, node: ir.Node) -> None:
    """DEPTH_TO_SPACE, whose channel order is ONNX's DCR; CRD is a reshape, one TRANSPOSE and a reshape."""
    x, y = _first(node), node.outputs[0]
    block, mode = int_attr(node, "blocksize", 1), string_attr(node, "mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refused(f"mode={mode!r} is unknown")
    data = ctx.read(node, x, NHWC)
    out = ctx.carrier(y, NHWC, data)
    if mode == "DCR":
        ctx.emit("DEPTH_TO_SPACE", [data], [out], "DepthToSpaceOptions", blockSize=block)
    else:
        batch, height, width, _ = data.shape
        depth = out.shape[3]
        split = (batch, height, width, depth, block, block)
        apart = ctx.temporary(y, "split", split, data.dtype, data.quant)
        ctx.reshape(data, apart)
        perm = (0, 1, 4, 2, 5, 3)
        moved = ctx.temporary(y, "moved", [split[p] for p in perm], data.dtype, data.quant)
        ctx.transpose(apart, perm, moved)
        ctx.reshape(moved, out)
    ctx.bind(node, y, out, NHWC)


@lowers("SpaceToDepth", attributes=("blocksize",), int8=True)
def space_to_depth(ctx: Context, node: ir.Node) -> None:
    """SPACE_TO_DEPTH, whose channel order is ONNX's."""
    y = node.outputs[0]
    data = ctx.read(node, _first(node), NHWC)
    out = ctx.carrier(y, NHWC, data)
    ctx.emit("SPACE_TO_DEPTH", [data], [out], "SpaceToDepthOptions", blockSize=int_attr(node, "blocksize", 1))
    ctx.bind(node, y, out, NHWC)

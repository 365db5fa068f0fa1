"""Operators that find where the largest elements are, or write at positions so found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor, schema
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import identity, stored_shape
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.activation import last_axis_layout
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.registry import Refused, lowers


@lowers("TopK", attributes=("axis", "largest", "sorted"), inputs=2, outputs=2)
def top_k(ctx: Context, node: ir.Node) -> None:
    """TOPK_V2 on the last stored axis, sorted, of equal values the first; the smallest are the largest of -x.

    For integers it is -1 - x, which does not overflow.
    """
    x, (values, indices) = first(node), node.outputs
    k = ctx.constant_ints(node, 1)
    if k is None or len(k) != 1:
        raise Refused("k must be one constant")
    if not 0 < k[0] <= ctx.shape(x)[int_attr(node, "axis", -1)]:
        raise Refused(f"k={k[0]} is not between 1 and the size of the axis")
    layout = last_axis_layout(ctx, x, int_attr(node, "axis", -1))
    data = ctx.read(node, x, layout)
    dtype, smallest = data.dtype, not int_attr(node, "largest", 1)
    if smallest:
        data = _mirrored(ctx, values, cast(ctx, values, data, "int32") if dtype in ("int8", "uint8") else data)
    shape = stored_shape(ctx.shape(values), layout)
    best = ctx.temporary(values, "best", shape, data.dtype) if smallest else ctx.output(node, layout, values)
    where = ctx.temporary(indices, "int32", shape, "int32")
    count = ctx.builder.constant("const/k", np.asarray(k[0], np.int32))
    ctx.emit("TOPK_V2", [data, count], [best, where], "TopKV2Options")
    if smallest:
        best = _mirrored(ctx, values, best)
        ctx.bind(node, values, best if best.dtype == dtype else cast(ctx, values, best, dtype), layout)
    if indices.uses() or indices.is_graph_output():
        ctx.bind(node, indices, cast(ctx, indices, where, "int64"), layout)


def _mirrored(ctx: Context, like: ir.Value, x: Tensor) -> Tensor:
    if x.dtype == "float32":
        return ctx.step(like, "NEG", [x])
    return ctx.step(like, "SUB", [ctx.number(-1, x.dtype), x], "SubOptions")


@lowers("ArgMax", attributes=("axis", "keepdims", "select_last_index"), int8=True)
def arg_max(ctx: Context, node: ir.Node) -> None:
    """ARG_MAX, which returns the first of equal values."""
    _arg(ctx, node, "ARG_MAX", "ArgMaxOptions")


@lowers("ArgMin", attributes=("axis", "keepdims", "select_last_index"), int8=True)
def arg_min(ctx: Context, node: ir.Node) -> None:
    """ARG_MIN, which returns the first of equal values."""
    _arg(ctx, node, "ARG_MIN", "ArgMinOptions")


def _arg(ctx: Context, node: ir.Node, code: str, options_type: str) -> None:
    """The last of equal values is the first of the reversed axis; int64 has TOPK_V2 only."""
    x, y = first(node), node.outputs[0]
    axis = int_attr(node, "axis", 0) % ctx.rank(x)
    layout = last_axis_layout(ctx, x, axis) if ctx.dtype(x) == "int64" else full_layout(ctx, x)
    keep = bool(int_attr(node, "keepdims", 1))
    rest = tuple(a for a in layout if a != axis)  # with keepdims the axis has size 1: it may be missing
    out_layout = rest if keep else tuple(a - (a > axis) for a in rest)
    position, last = layout.index(axis), int_attr(node, "select_last_index", 0)
    data = ctx.read(node, x, layout)
    if last:
        data = ctx.step(y, "REVERSE_V2", [data, ctx.ints("axes", (position,))], "ReverseV2Options", shape=data.shape)
    shape = stored_shape(ctx.shape(y), out_layout)
    if data.dtype == "int64":
        found = _first_of_int64(ctx, y, data if code == "ARG_MAX" else _mirrored(ctx, y, data), shape)
    else:
        found = ctx.temporary(y, "place", shape, "int64") if last else ctx.output(node, out_layout, y)
        where = ctx.builder.constant("const/axis", np.asarray(position, np.int32))
        ctx.emit(code, [data, where], [found], options_type, outputType=schema().TensorType.INT64)
    if last:
        end = ctx.number(ctx.shape(x)[axis] - 1, "int64")
        ctx.emit("SUB", [end, found], [ctx.output(node, out_layout, y)], "SubOptions")
    elif data.dtype == "int64":
        ctx.bind(node, y, found, out_layout)


def _first_of_int64(ctx: Context, y: ir.Value, data: Tensor, shape: Sequence[int]) -> Tensor:
    """Where the largest element along the last axis is first, as int64 of the given shape."""
    best, where = (ctx.temporary(y, "best", (*data.shape[:-1], 1), dtype) for dtype in ("int64", "int32"))
    ctx.emit(
        "TOPK_V2", [data, ctx.builder.constant("const/k", np.asarray(1, np.int32))], [best, where], "TopKV2Options"
    )
    flat = ctx.temporary(y, "place", shape, "int32")
    ctx.reshape(where, flat)
    return cast(ctx, y, flat, "int64")


@lowers("Hardmax", attributes=("axis",))
def hardmax(ctx: Context, node: ir.Node) -> None:
    """ARG_MAX along the last stored axis, ONE_HOT."""
    x, y = first(node), node.outputs[0]
    layout = last_axis_layout(ctx, x, int_attr(node, "axis", -1))
    data = ctx.read(node, x, layout)
    last = len(data.shape) - 1
    where = ctx.builder.constant("const/axis", np.asarray(last, np.int32))
    found = ctx.temporary(y, "largest", data.shape[:-1], "int32")
    ctx.emit("ARG_MAX", [data, where], [found], "ArgMaxOptions", outputType=schema().TensorType.INT32)
    depth = ctx.builder.constant("const/depth", np.asarray(data.shape[-1], np.int32))
    on, off = ctx.number(1, data.dtype), ctx.number(0, data.dtype)
    ctx.emit("ONE_HOT", [found, depth, on, off], [ctx.output(node, layout)], "OneHotOptions", axis=-1)


@lowers("OneHot", attributes=("axis",), inputs=3)
def one_hot(ctx: Context, node: ir.Node) -> None:
    """ONE_HOT, indices below 0 counted from the end first; one outside of [-depth, depth) is nowhere.

    A float that is no whole number is nowhere either, as in ONNX Runtime.
    """
    indices, values, y = first(node), node.inputs[2], node.outputs[0]
    assert values is not None
    depth = ctx.constant_ints(node, 1)
    if depth is None or len(depth) != 1:
        raise Refused("depth must be one constant")
    data = ctx.read(node, indices)
    if data.dtype not in ("int32", "int64", "float32"):
        data = cast(ctx, y, data, "int32")
    zero, size = ctx.number(0, data.dtype), ctx.number(depth[0], data.dtype)
    below = ctx.step(y, "LESS", [data, zero], "LessOptions", dtype="bool")
    wrapped = ctx.step(y, "ADD", [data, size], "AddOptions")
    where = ctx.step(y, "SELECT_V2", [below, wrapped, data], "SelectV2Options", dtype=data.dtype)
    if where.dtype == "float32":
        whole = ctx.step(y, "FLOOR", [where])
        same = ctx.step(y, "EQUAL", [where, whole], "EqualOptions", dtype="bool")
        where = ctx.step(y, "SELECT_V2", [same, where, size], "SelectV2Options")
        where = cast(ctx, y, where, "int32")
    on, off = (_element(ctx, node, values, i) for i in (1, 0))
    count = ctx.builder.constant("const/depth", np.asarray(depth[0], np.int32))
    rank = ctx.rank(y)
    axis = int_attr(node, "axis", -1) % rank
    axis = -1 if axis == rank - 1 else axis
    ctx.emit("ONE_HOT", [where, count, on, off], [ctx.output(node, identity(rank))], "OneHotOptions", axis=axis)


def _element(ctx: Context, node: ir.Node, values: ir.Value, index: int) -> Tensor:
    """One of OneHot's two values, as a scalar."""
    constant = ctx.constant(values)
    if constant is not None:
        return ctx.builder.constant("const/scalar", constant.reshape(-1)[index].reshape(()))
    data, y = ctx.read(node, values), node.outputs[0]
    begin, size = ctx.ints("begin", (index,)), ctx.ints("size", (1,))
    one = ctx.step(y, "SLICE", [data, begin, size], "SliceOptions", shape=(1,))
    scalar = ctx.temporary(y, "value", (), data.dtype)
    ctx.reshape(one, scalar)
    return scalar

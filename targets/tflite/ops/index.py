"""Operators that pick, join or repeat elements along axes, in whatever order the axes are stored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context, same_quant
from edgeport.targets.tflite.layout import ADDED, Layout, aligned, completed, identity, stored_shape
from edgeport.targets.tflite.ops.activation import last_axis_layout
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.registry import Refused, lowers

MAX_RANK = 5
"""Of what SLICE, STRIDED_SLICE and PAD take."""


def first(node: ir.Node) -> ir.Value:
    """The first input, which every operator here has."""
    value = node.inputs[0]
    assert value is not None
    return value


@lowers("Concat", attributes=("axis",), inputs=None, int8=True)
def concat(ctx: Context, node: ir.Node) -> None:
    """CONCATENATION; integer operands are brought to the output's parameters first."""
    y = node.outputs[0]
    rank = ctx.rank(y)
    values = [v for v in node.inputs if v is not None]
    layout = completed(ctx.common_layout(values, ctx.shape(y)), rank)
    out_quant = ctx.quant(node, y)
    parts = []
    for value in values:
        part = ctx.read(node, value, layout)
        if part.quant is not None and out_quant is not None and not same_quant(part.quant, out_quant):
            scaled = ctx.temporary(y, "rescaled", part.shape, part.dtype, out_quant)
            ctx.emit("QUANTIZE", [part], [scaled], "QuantizeOptions")
            part = scaled
        parts.append(part)
    axis = layout.index(int_attr(node, "axis", 0) % rank)
    ctx.emit("CONCATENATION", parts, [ctx.output(node, layout)], "ConcatenationOptions", axis=axis)


@lowers("Split", attributes=("axis", "num_outputs"), inputs=2, outputs=None, int8=True)
def split(ctx: Context, node: ir.Node) -> None:
    """SPLIT into 2 to 4 equal parts, else one SLICE a part: what XNNPACK takes."""
    x = first(node)
    rank, layout = ctx.rank(x), ctx.full_layout(x)
    axis = int_attr(node, "axis", 0) % rank
    data = ctx.read(node, x, layout)
    position = layout.index(axis)
    sizes = [ctx.shape(out)[axis] for out in node.outputs]
    if sum(sizes) != ctx.shape(x)[axis]:
        raise Refused(f"its parts {sizes} do not add up to {ctx.shape(x)[axis]}")
    if len(set(sizes)) == 1 and len(sizes) in (2, 3, 4) and data.dtype != "bool":
        outs = [ctx.carrier(out, layout, data) for out in node.outputs]
        where = ctx.builder.constant("const/axis", np.asarray(position, np.int32))
        ctx.emit("SPLIT", [where, data], outs, "SplitOptions", numSplits=len(sizes))
        for value, out in zip(node.outputs, outs, strict=True):
            ctx.bind(node, value, out, layout)
        return
    begin = 0
    for value, size in zip(node.outputs, sizes, strict=True):
        if value.uses() or value.is_graph_output():
            begins = [begin if i == position else 0 for i in range(rank)]
            cut(ctx, node, data, value, layout, begins)
        begin += size


def cut(ctx: Context, node: ir.Node, data: Tensor, value: ir.Value, layout: Layout, begin: Sequence[int]) -> None:
    """Binds `value` to the part of `data` that starts at `begin` (stored axes) and has the value's shape."""
    if len(data.shape) > MAX_RANK:
        raise Refused(f"slicing {len(data.shape)} dimensions is not supported, at most {MAX_RANK} are")
    out = ctx.carrier(value, layout, data)
    ctx.emit("SLICE", [data, ctx.ints("begin", begin), ctx.ints("size", out.shape)], [out], "SliceOptions")
    ctx.bind(node, value, out, layout)


@lowers("Slice", inputs=5, int8=True)
def slice_op(ctx: Context, node: ir.Node) -> None:
    """SLICE where every step is 1, else STRIDED_SLICE."""
    x, y = first(node), node.outputs[0]
    shape, rank = ctx.shape(x), ctx.rank(x)
    starts, ends = ctx.constant_ints(node, 1), ctx.constant_ints(node, 2)
    if starts is None or ends is None:
        raise Refused("starts and ends are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(len(starts)))
    steps = ctx.constant_ints(node, 4) or (1,) * len(starts)
    begin, stride = [0] * rank, [1] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        begin[axis % rank], _, stride[axis % rank] = slice(start, end, step).indices(shape[axis % rank])
    layout = ctx.full_layout(x)
    data = ctx.read(node, x, layout)
    if all(s == 1 for s in stride):
        cut(ctx, node, data, y, layout, [begin[a] for a in layout])
        return
    if rank > MAX_RANK:
        raise Refused(f"slicing {rank} dimensions is not supported, at most {MAX_RANK} are")
    out = ctx.carrier(y, layout, data)
    counts = ctx.shape(y)
    stop = [begin[a] + counts[a] * stride[a] for a in range(rank)]
    # Past the first element there is no index to stop at (-1 means the last one): a mask says "to the end".
    open_end = sum(1 << i for i, a in enumerate(layout) if stop[a] < 0)
    ctx.emit(
        "STRIDED_SLICE",
        [
            data,
            ctx.ints("begin", [begin[a] for a in layout]),
            ctx.ints("end", [stop[a] for a in layout]),
            ctx.ints("strides", [stride[a] for a in layout]),
        ],
        [out],
        "StridedSliceOptions",
        beginMask=0,
        endMask=open_end,
    )
    ctx.bind(node, y, out, layout)


@lowers("Gather", attributes=("axis",), inputs=2)
def gather(ctx: Context, node: ir.Node) -> None:
    """GATHER; one constant index is a SLICE."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    axis, size = int_attr(node, "axis", 0) % ctx.rank(x), ctx.shape(x)[int_attr(node, "axis", 0)]
    layout = ctx.full_layout(x)
    position, extra = layout.index(axis), ctx.rank(indices)
    data = ctx.read(node, x, layout)
    constant = ctx.constant(indices)
    if constant is not None:
        constant = np.where(constant < 0, constant + size, constant)
        if constant.min() < 0 or constant.max() >= size:
            raise Refused(f"an index is outside of [-{size}, {size})")
    if constant is not None and constant.size == 1 and len(data.shape) <= MAX_RANK and not data.constant:
        begin = [int(constant.reshape(-1)[0]) if i == position else 0 for i in range(len(layout))]
        renamed = tuple(ADDED if a == axis else a + extra - 1 if a > axis else a for a in layout)
        cut(ctx, node, data, y, renamed, begin)
        return
    where = (
        ctx.read(node, indices) if constant is None else ctx.builder.constant("const/index", constant.astype(np.int32))
    )
    renamed_axes: list[int] = []
    for a in layout:
        renamed_axes.extend(range(axis, axis + extra) if a == axis else [a + extra - 1 if a > axis else a])
    out_layout = tuple(renamed_axes)
    out = ctx.carrier(y, out_layout, data)
    ctx.emit("GATHER", [data, where], [out], "GatherOptions", axis=position, batchDims=0)
    ctx.bind(node, y, out, out_layout)


@lowers("GatherElements", attributes=("axis",), inputs=2)
def gather_elements(ctx: Context, node: ir.Node) -> None:
    """GATHER_ND over full coordinates: those of the output, with the indices in place of `axis`."""
    x, indices, y = first(node), node.inputs[1], node.outputs[0]
    assert indices is not None
    rank, shape = ctx.rank(x), ctx.shape(indices)
    axis = int_attr(node, "axis", 0) % rank
    size, constant = ctx.shape(x)[axis], ctx.constant(indices)
    grid = np.indices(shape, np.int32)
    if constant is not None:
        grid[axis] = np.where(constant < 0, constant + size, constant)
        where = ctx.builder.constant("const/index", np.moveaxis(grid, 0, -1))
    else:
        column = ctx.temporary(y, "column", (*shape, 1), ctx.dtype(indices))
        ctx.reshape(ctx.read(node, indices), column)
        columns = [ctx.builder.constant("const/grid", g[..., None].astype(column.dtype)) for g in grid]
        columns[axis] = column
        where = ctx.temporary(y, "coordinates", (*shape, rank), column.dtype)
        ctx.emit("CONCATENATION", columns, [where], "ConcatenationOptions", axis=rank)
    ctx.emit("GATHER_ND", [ctx.read(node, x), where], [ctx.output(node)], "GatherNdOptions")


@lowers("GatherND", attributes=("batch_dims",), inputs=2)
def gather_nd(ctx: Context, node: ir.Node) -> None:
    """GATHER_ND with indices that are not negative."""
    x, indices = first(node), node.inputs[1]
    assert indices is not None
    if int_attr(node, "batch_dims", 0):
        raise Refused("batch_dims other than 0 is not supported")
    constant = ctx.constant(indices)
    if constant is None:
        raise Refused("indices computed at run time are not supported", "make them constants")
    sizes = np.asarray(ctx.shape(x)[: constant.shape[-1]])
    where = ctx.builder.constant("const/index", np.where(constant < 0, constant + sizes, constant).astype(np.int32))
    data = ctx.read(node, x)
    ctx.emit("GATHER_ND", [data, where], [ctx.output(node)], "GatherNdOptions")


@lowers("Expand", inputs=2)
def expand(ctx: Context, node: ir.Node) -> None:
    """BROADCAST_TO."""
    x, y = first(node), node.outputs[0]
    shape = ctx.shape(y)
    layout = completed(ctx.common_layout([x], shape), len(shape))
    data = ctx.read(node, x, aligned(layout, ctx.rank(x), len(shape)))
    ctx.emit("BROADCAST_TO", [data, ctx.ints("shape", stored_shape(shape, layout))], [ctx.output(node, layout)])


@lowers("Tile", inputs=2)
def tile(ctx: Context, node: ir.Node) -> None:
    """TILE."""
    x = first(node)
    repeats = ctx.constant_ints(node, 1)
    assert repeats is not None
    layout = ctx.full_layout(x)
    multiples = ctx.ints("repeats", [repeats[a] for a in layout])
    ctx.emit("TILE", [ctx.read(node, x, layout), multiples], [ctx.output(node, layout)], "TileOptions")


@lowers("CumSum", attributes=("exclusive", "reverse"), inputs=2)
def cum_sum(ctx: Context, node: ir.Node) -> None:
    """CUMSUM."""
    x = first(node)
    axis = ctx.constant_ints(node, 1)
    assert axis is not None
    layout = ctx.full_layout(x)
    position = np.asarray(layout.index(axis[0] % ctx.rank(x)), np.int32)
    ctx.emit(
        "CUMSUM",
        [ctx.read(node, x, layout), ctx.builder.constant("const/axis", position)],
        [ctx.output(node, layout)],
        "CumsumOptions",
        exclusive=bool(int_attr(node, "exclusive", 0)),
        reverse=bool(int_attr(node, "reverse", 0)),
    )


@lowers("TopK", attributes=("axis", "largest", "sorted"), inputs=2, outputs=2)
def top_k(ctx: Context, node: ir.Node) -> None:
    """TOPK_V2 on the last stored axis (of equal values the first); the smallest are the largest of -x."""
    x, (values, indices) = first(node), node.outputs
    k = ctx.constant_ints(node, 1)
    assert k is not None
    if ctx.dtype(x) != "float32":
        raise Refused(f"TopK of {ctx.dtype(x)} is not supported", "cast to float32")
    layout = last_axis_layout(ctx, x, int_attr(node, "axis", -1))
    data = ctx.read(node, x, layout)
    negate = not int_attr(node, "largest", 1)
    if negate:
        data = ctx.step(values, "NEG", [data])
    shape = stored_shape(ctx.shape(values), layout)
    best = ctx.temporary(values, "best", shape) if negate else ctx.output(node, layout, values)
    where = ctx.temporary(indices, "int32", shape, "int32")
    count = ctx.builder.constant("const/k", np.asarray(k[0], np.int32))
    ctx.emit("TOPK_V2", [data, count], [best, where], "TopKV2Options")
    if negate:
        ctx.emit("NEG", [best], [ctx.output(node, layout, values)])
    ctx.bind(node, indices, cast(ctx, indices, where, "int64"), layout)


@lowers("OneHot", attributes=("axis",), inputs=3)
def one_hot(ctx: Context, node: ir.Node) -> None:
    """ONE_HOT, indices below 0 counted from the end first."""
    indices, y = first(node), node.outputs[0]
    depth, values = ctx.constant_ints(node, 1), ctx.constant(node.inputs[2])
    if depth is None or values is None or not ctx.dtype(indices).startswith("int"):
        raise Refused("depth and values must be constants and indices integers")
    rank = ctx.rank(y)
    data = ctx.read(node, indices)
    zero, size = ctx.number(0, data.dtype), ctx.number(depth[0], data.dtype)
    below = ctx.step(y, "LESS", [data, zero], "LessOptions", dtype="bool")
    wrapped = ctx.step(y, "ADD", [data, size], "AddOptions")
    where = ctx.step(y, "SELECT_V2", [below, wrapped, data], "SelectV2Options", dtype=data.dtype)
    on, off = (ctx.builder.constant("const/scalar", values.reshape(-1)[i].reshape(())) for i in (1, 0))
    count = ctx.builder.constant("const/depth", np.asarray(depth[0], np.int32))
    axis = int_attr(node, "axis", -1) % rank
    axis = -1 if axis == rank - 1 else axis
    ctx.emit("ONE_HOT", [where, count, on, off], [ctx.output(node, identity(rank))], "OneHotOptions", axis=axis)

"""Operators that cut, join or repeat along axes, in whatever order the axes are stored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout import Layout, aligned, completed, stored_shape
from edgeport.targets.tflite.layout_choice import common_layout, full_layout
from edgeport.targets.tflite.ops.attention_masks import spreads_masks_only
from edgeport.targets.tflite.ops.repeat import repeated
from edgeport.targets.tflite.pieces import MOST_PARTS
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.strides import strided

MAX_RANK = 5
"""Of what SLICE, STRIDED_SLICE and PAD take."""
_LONG_ROW, _LARGE = 128, 2**16
"""Bytes."""


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
    layout = completed(common_layout(ctx, values, ctx.shape(y)), rank)
    out_quant = ctx.quant(node, y)
    parts = []
    for value in values:
        part = ctx.read(node, value, layout)
        parts.append(part if out_quant is None else ctx.rescaled(y, part, out_quant))
    axis = layout.index(int_attr(node, "axis", 0) % rank)
    if parts[0].dtype in ("float32", "int8") and (parts[0].dtype == "float32") == (out_quant is None):
        parts = _few(ctx, y, parts, axis)
    ctx.emit("CONCATENATION", parts, [ctx.output(node, layout)], "ConcatenationOptions", axis=axis)


def _few(ctx: Context, y: ir.Value, parts: list[Tensor], axis: int) -> list[Tensor]:
    """As many parts as XNNPACK joins at once: small ones or short rows of them are joined before.

    LiteRT's own kernel copies row by row; long rows (and so much of them that it counts) it copies once, not twice.
    """
    while len(parts) > MOST_PARTS:
        count = min(MOST_PARTS, len(parts) - MOST_PARTS + 1)
        sizes = [math.prod(part.shape) for part in parts]
        start = min(range(len(parts) - count + 1), key=lambda i: sum(sizes[i : i + count]))
        group = parts[start : start + count]
        width = np.dtype(group[0].dtype).itemsize
        rows = max(math.prod(part.shape[axis:]) for part in group) * width
        if rows > _LONG_ROW and sum(sizes) * width > _LARGE:
            break
        shape = list(group[0].shape)
        shape[axis] = sum(part.shape[axis] for part in group)
        joined = ctx.temporary(y, "joined", shape, group[0].dtype, group[0].quant)
        ctx.emit("CONCATENATION", group, [joined], "ConcatenationOptions", axis=axis)
        parts = [*parts[:start], joined, *parts[start + count :]]
    return parts


@lowers("Split", attributes=("axis", "num_outputs"), inputs=2, outputs=None, int8=True)
def split(ctx: Context, node: ir.Node) -> None:
    """SPLIT into 2 to 4 equal parts, else one SLICE a part: what XNNPACK takes."""
    x = first(node)
    rank, layout = ctx.rank(x), full_layout(ctx, x)
    axis = int_attr(node, "axis", 0) % rank
    data = ctx.read(node, x, layout)
    position = layout.index(axis)
    sizes = [ctx.shape(out)[axis] for out in node.outputs]
    if sum(sizes) != ctx.shape(x)[axis]:
        raise Refused(f"its parts {sizes} do not add up to {ctx.shape(x)[axis]}")
    plain = data.quant is None and data.dtype in ("bool", "int8", "uint8")  # which SPLIT takes for quantized
    if len(set(sizes)) == 1 and len(sizes) in (2, 3, 4) and not plain and rank <= 6:
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


def cut(
    ctx: Context,
    node: ir.Node,
    data: Tensor,
    value: ir.Value,
    layout: Layout,
    begin: Sequence[int],
    stride: Sequence[int] | None = None,
) -> None:
    """Binds `value` to the part of `data` that starts at `begin` (stored axes) and has the value's shape.

    Axes that stay whole are merged first where there are more than the kernels take.

    Args:
        stride: steps, by default 1 on every axis.
    """
    shape = stored_shape(ctx.shape(value), layout)
    steps = [1] * len(begin) if stride is None else list(stride)
    if len(begin) <= MAX_RANK:
        ctx.bind(node, value, strided(ctx, value, data, begin, steps, shape), layout)
        return
    whole = [d == o and s == 1 for d, o, s in zip(data.shape, shape, steps, strict=True)]
    groups = [list(run) for _, run in itertools.groupby(range(len(begin)), key=lambda i: -1 if whole[i] else i)]
    if len(groups) > MAX_RANK:
        raise Refused(f"slicing {len(begin)} dimensions is not supported, at most {MAX_RANK} are")
    few = ctx.temporary(value, "merged", [math.prod(data.shape[i] for i in g) for g in groups], data.dtype, data.quant)
    ctx.reshape(data, few)
    starts, every = ([values[g[0]] for g in groups] for values in (begin, steps))
    part = strided(ctx, value, few, starts, every, [math.prod(shape[i] for i in g) for g in groups])
    out = ctx.carrier(value, layout, data)
    ctx.reshape(part, out)
    ctx.bind(node, value, out, layout)


@lowers("Slice", inputs=5, int8=True)
def slice_op(ctx: Context, node: ir.Node) -> None:
    """SLICE, and GATHER along axes with steps."""
    x, y = first(node), node.outputs[0]
    shape, rank = ctx.shape(x), ctx.rank(x)
    starts, ends = ctx.constant_ints(node, 1), ctx.constant_ints(node, 2)
    if starts is None or ends is None:
        raise Refused("starts and ends are missing")
    axes = ctx.constant_ints(node, 3) or tuple(range(len(starts)))
    steps = ctx.constant_ints(node, 4) or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refused("its starts, ends, axes and steps are not equally many")
    begin, stride, counts = [0] * rank, [1] * rank, list(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0 or not -rank <= axis < rank:
            raise Refused(f"step {step} on axis {axis} of {rank} is not possible")
        kept = range(*slice(start, end, step).indices(shape[axis]))
        begin[axis], stride[axis], counts[axis] = kept.start, step, len(kept)
    if tuple(counts) != ctx.shape(y):
        raise Refused(f"it gives {counts}, declared is {list(ctx.shape(y))}")
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    cut(ctx, node, data, y, layout, [begin[a] for a in layout], [stride[a] for a in layout])


@lowers("Expand", inputs=2, int8=True)
def expand(ctx: Context, node: ir.Node) -> None:
    """A repetition of axes of size 1; nothing where attentions read what stands before it."""
    if spreads_masks_only(ctx, node):
        return
    x, y = first(node), node.outputs[0]
    shape = ctx.shape(y)
    layout = completed(common_layout(ctx, [x], shape), len(shape))
    data = ctx.read(node, x, aligned(layout, ctx.rank(x), len(shape)))
    counts = [wanted // have for wanted, have in zip(stored_shape(shape, layout), data.shape, strict=True)]
    ctx.bind(node, y, repeated(ctx, y, data, counts), layout)


@lowers("Tile", inputs=2, int8=True)
def tile(ctx: Context, node: ir.Node) -> None:
    """A repetition of whole axes."""
    x, y = first(node), node.outputs[0]
    repeats = ctx.constant_ints(node, 1)
    assert repeats is not None
    layout = full_layout(ctx, x)
    data = ctx.read(node, x, layout)
    ctx.bind(node, y, repeated(ctx, y, data, [repeats[a] for a in layout]), layout)

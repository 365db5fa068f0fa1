"""Scatter operators: each is a write of M rows into the R rows of the data seen as a matrix [R, inner].

The row that each update goes to is a constant or computed from run-time indices. Of updates that go to one row the last
one stays, as in ONNX Runtime; ONNX leaves that open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.bounds import constant_positions
from edgeport.targets.tflite.attributes import int_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.ops.positions import computed_positions
from edgeport.targets.tflite.ops.update_slice import overwrite_box, overwrite_from, overwrite_neighbours, reshaped
from edgeport.targets.tflite.registry import Refused, lowers

_COMBINE = {
    "mul": ("UNSORTED_SEGMENT_PROD", "UnsortedSegmentProdOptions", "MUL", "MulOptions"),
    "max": ("UNSORTED_SEGMENT_MAX", "UnsortedSegmentMaxOptions", "MAXIMUM", "MaximumMinimumOptions"),
    "min": ("UNSORTED_SEGMENT_MIN", "UnsortedSegmentMinOptions", "MINIMUM", "MaximumMinimumOptions"),
}


@dataclass(frozen=True)
class _Write:
    """One write.

    Attributes:
        rows: number R of rows of the data.
        inner: elements in a row.
        target: row of each update, int64[M], or an integer tensor of M elements.
    """

    rows: int
    inner: int
    target: Array | Tensor


@lowers("ScatterND", attributes=("reduction",), inputs=3)
def scatter_nd(ctx: Context, node: ir.Node) -> None:
    """A row is what the leading axes, which the indices name, leave of the data."""
    indices, y = node.inputs[1], node.outputs[0]
    assert indices is not None
    reduction = string_attr(node, "reduction", "none")
    if reduction == "none" and overwrite_neighbours(ctx, node, indices):
        return
    shape, depth = ctx.shape(first(node)), ctx.shape(indices)[-1]
    sizes = shape[:depth]
    strides = np.asarray([math.prod(sizes[i + 1 :]) for i in range(depth)])
    constant = ctx.constant(indices)
    target: Array | Tensor
    if constant is not None:
        target = (constant_positions(constant, sizes) * strides).sum(axis=-1).reshape(-1)
    else:
        found = computed_positions(ctx, y, indices, ctx.read(node, indices), sizes)
        terms = ctx.step(
            y, "MUL", [found, ctx.builder.constant("const/strides", strides.astype(found.dtype))], "MulOptions"
        )
        last = ctx.ints("axes", (len(found.shape) - 1,))
        target = ctx.step(y, "SUM", [terms, last], "ReducerOptions", shape=found.shape[:-1], keepDims=False)
    write = _Write(math.prod(sizes), math.prod(shape[depth:]), target)
    _write(ctx, node, write, reduction)


@lowers("ScatterElements", attributes=("axis", "reduction"), inputs=3)
def scatter_elements(ctx: Context, node: ir.Node) -> None:
    """A row is one element, whose coordinates are those of its update but for the one along `axis`."""
    indices, y = node.inputs[1], node.outputs[0]
    assert indices is not None
    shape, counts = ctx.shape(first(node)), ctx.shape(indices)
    axis = int_attr(node, "axis", 0) % len(shape)
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    rest = sum(
        (g * s for i, (g, s) in enumerate(zip(np.indices(counts), strides, strict=True)) if i != axis),
        np.zeros(counts, np.int64),
    )
    constant = ctx.constant(indices)
    target: Array | Tensor
    if constant is not None:
        target = (rest + constant_positions(constant, shape[axis]) * strides[axis]).reshape(-1)
    else:
        found = computed_positions(ctx, y, indices, ctx.read(node, indices), shape[axis])
        along = ctx.step(y, "MUL", [found, ctx.number(strides[axis], found.dtype)], "MulOptions")
        target = ctx.step(y, "ADD", [along, ctx.builder.constant("const/rest", rest.astype(found.dtype))], "AddOptions")
    _write(ctx, node, _Write(math.prod(shape), 1, target), string_attr(node, "reduction", "none"))


@lowers("TensorScatter", attributes=("axis", "mode"), inputs=3)
def tensor_scatter(ctx: Context, node: ir.Node) -> None:
    """Each sample's update goes to consecutive places of `axis`, from the sample's own index on."""
    x, updates, y = first(node), node.inputs[1], node.outputs[0]
    assert updates is not None
    shape, mode = ctx.shape(x), string_attr(node, "mode", "linear")
    axis = int_attr(node, "axis", -2) % len(shape)
    if mode not in ("linear", "circular") or axis == 0:
        raise Refused(f"mode={mode!r} on axis {axis} is not supported")
    size, count = shape[axis], ctx.shape(updates)[axis]
    lead = np.arange(math.prod(shape[:axis])).reshape(shape[0], -1, 1) * size
    steps = np.arange(count)
    starts = node.inputs[2] if len(node.inputs) > 2 else None
    begin = np.zeros(shape[0], np.int64) if starts is None else ctx.constant(starts)
    target: Array | Tensor
    if begin is not None:
        places = begin.astype(np.int64).reshape(-1, 1, 1) + steps
        if mode == "circular":
            places = places % size
        target = (lead + constant_positions(places, size)).reshape(-1)
    else:
        assert starts is not None
        data = ctx.read(node, starts)
        if mode == "linear" and shape[0] == 1:
            overwrite_from(ctx, node, data, axis)
            return
        column = ctx.temporary(y, "column", (shape[0], 1, 1), data.dtype)
        ctx.reshape(data, column)
        steps_tensor = ctx.builder.constant("const/steps", steps.reshape(1, 1, -1).astype(data.dtype))
        moved = ctx.step(y, "ADD", [column, steps_tensor], "AddOptions")
        if mode == "circular":
            moved = ctx.step(y, "FLOOR_MOD", [moved, ctx.number(size, data.dtype)], "FloorModOptions")
        target = ctx.step(y, "ADD", [moved, ctx.builder.constant("const/lead", lead.astype(data.dtype))], "AddOptions")
    _write(ctx, node, _Write(math.prod(shape[: axis + 1]), math.prod(shape[axis + 1 :]), target), "none")


def _write(ctx: Context, node: ir.Node, write: _Write, reduction: str) -> None:
    x = first(node)
    updates = node.inputs[1] if node.op_type == "TensorScatter" else node.inputs[2]
    assert updates is not None
    if reduction not in ("none", "add", *_COMBINE):
        raise Refused(f"reduction={reduction!r} is unknown")
    fixed = None if isinstance(write.target, Tensor) else write.target
    if reduction == "none" and fixed is not None and overwrite_box(ctx, node, updates, fixed, write.inner):
        return
    data = _matrix(ctx, node, ctx.read(node, x), write.rows, write.inner)
    rows = _matrix(ctx, node, ctx.read(node, updates), math.prod(ctx.shape(updates)) // write.inner, write.inner)
    if reduction == "none":
        result = _overwrite(ctx, node, write, data, rows)
    elif reduction == "add":
        result = _add(ctx, node, write, data, rows)
    else:
        result = _combine(ctx, node, write, data, rows, reduction)
    ctx.reshape(result, ctx.output(node))


def _overwrite(ctx: Context, node: ir.Node, write: _Write, data: Tensor, updates: Tensor) -> Tensor:
    """GATHER of each row from the data followed by the updates: itself, or the last update that goes there."""
    y, count = node.outputs[0], updates.shape[0]
    choice: Tensor
    if isinstance(write.target, Tensor):
        where = _row_numbers(ctx, node, write.target)
        order = ctx.ints("order", range(count))
        total = ctx.builder.constant("const/rows", np.asarray(write.rows, np.int32))
        last = ctx.step(y, "UNSORTED_SEGMENT_MAX", [order, where, total], "UnsortedSegmentMaxOptions", (write.rows,))
        missed = ctx.step(y, "LESS", [last, ctx.number(0, "int32")], "LessOptions", dtype="bool")
        found = ctx.step(y, "ADD", [last, ctx.number(write.rows, "int32")], "AddOptions")
        own = ctx.ints("order", range(write.rows))
        choice = ctx.step(y, "SELECT_V2", [missed, own, found], "SelectV2Options", dtype="int32")
    else:
        chosen = np.arange(write.rows, dtype=np.int32)
        for number, row in enumerate(write.target.tolist()):
            chosen[row] = write.rows + number
        choice = ctx.builder.constant("const/choice", chosen)
    both = ctx.temporary(y, "both", (write.rows + count, write.inner), data.dtype)
    ctx.emit("CONCATENATION", [data, updates], [both], "ConcatenationOptions", axis=0)
    shape = (write.rows, write.inner)
    return ctx.step(y, "GATHER", [both, choice], "GatherOptions", shape, axis=0, batchDims=0)


def _add(ctx: Context, node: ir.Node, write: _Write, data: Tensor, updates: Tensor) -> Tensor:
    """SCATTER_ND, which adds up what goes to one row, and ADD."""
    y, where = node.outputs[0], _row_numbers(ctx, node, write.target)
    column = ctx.temporary(y, "column", (*where.shape, 1), "int32")
    ctx.reshape(where, column)
    shape = (write.rows, write.inner)
    wide = _widened(ctx, y, [data, updates])
    total = ctx.step(
        y, "SCATTER_ND", [column, wide[1], ctx.ints("shape", shape)], "ScatterNdOptions", shape, wide[1].dtype
    )
    return _narrowed(ctx, y, ctx.step(y, "ADD", [wide[0], total], "AddOptions"), data.dtype)


def _combine(ctx: Context, node: ir.Node, write: _Write, data: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """UNSORTED_SEGMENT over the updates, then the same operator with the data."""
    segment, segment_options, code, options = _COMBINE[reduction]
    y, where = node.outputs[0], _row_numbers(ctx, node, write.target)
    total = ctx.builder.constant("const/rows", np.asarray(write.rows, np.int32))
    wide = _widened(ctx, y, [data, updates])
    if wide[0].dtype == "int64":
        raise Refused(f"reduction={reduction!r} of int64 is not supported", "cast to int32 or float32")
    shape = (write.rows, write.inner)
    best = ctx.step(y, segment, [wide[1], where, total], segment_options, shape, wide[1].dtype)
    result = ctx.step(y, code, [wide[0], best], options)
    if data.dtype == "float32" and reduction in ("max", "min"):
        # Rows without an update hold the extreme finite number, which must not beat an infinity of the data.
        limit = float(np.finfo(np.float32).max)
        compare, bound = ("LESS_EQUAL", -limit) if reduction == "max" else ("GREATER_EQUAL", limit)
        untouched = ctx.step(
            y, compare, [best, ctx.number(bound)], f"{compare.title().replace('_', '')}Options", dtype="bool"
        )
        result = ctx.step(y, "SELECT_V2", [untouched, wide[0], result], "SelectV2Options", dtype="float32")
    return _narrowed(ctx, y, result, data.dtype)


def _row_numbers(ctx: Context, node: ir.Node, target: Array | Tensor) -> Tensor:
    """The rows as an int32 vector."""
    if not isinstance(target, Tensor):
        return ctx.builder.constant("const/target", target.astype(np.int32))
    y = node.outputs[0]
    if target.dtype != "int32":
        target = cast(ctx, y, target, "int32")
    return reshaped(ctx, y, target, (math.prod(target.shape),))


def _matrix(ctx: Context, node: ir.Node, tensor: Tensor, rows: int, inner: int) -> Tensor:
    return reshaped(ctx, node.outputs[0], tensor, (rows, inner))


def _widened(ctx: Context, like: ir.Value, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bytes as int32, in which arithmetic has kernels; the low byte of the result is the same."""
    if tensors[0].dtype == "bool":
        raise Refused("a reduction of bool is not supported", "cast to int32")
    return [cast(ctx, like, t, "int32") if t.dtype in ("int8", "uint8") else t for t in tensors]


def _narrowed(ctx: Context, like: ir.Value, tensor: Tensor, dtype: str) -> Tensor:
    return tensor if tensor.dtype == dtype else cast(ctx, like, tensor, dtype)

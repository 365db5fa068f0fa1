"""Operators that find where the largest elements are, or write at positions so found.

MIL does not say which of equal elements `reduce_argmax` and `topk` name. Where equal elements are likely, what is to
be found is computed: the first largest element is where `n - position` is largest among those equal to the maximum.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, producer
from edgeport.sample import Array
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var, dtype_of
from edgeport.targets.coreml.ops.selection import select
from edgeport.targets.coreml.registry import Refused, lowers

_LIKELY_EQUAL = ("Cast", "Ceil", "Clip", "Floor", "Hardmax", "HardSigmoid", "OneHot", "Relu", "Round", "Sign", "Where")
"""Producers of floats that often are equal."""


@lowers("ArgMax", "ArgMin", attributes=("axis", "keepdims", "select_last_index"))
def arg_extreme(ctx: Context, node: ir.Node) -> None:
    """`reduce_argmax` or `reduce_argmin`; computed where equal elements are likely or the last of them is wanted."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    axis, keep = get_int(node, "axis", 0) % ctx.rank(x), bool(get_int(node, "keepdims", 1))
    kind, last = node.op_type[3:].lower(), bool(get_int(node, "select_last_index", 0))
    data = ctx.read(x)
    if last or dtype_of(data) == "int32" or producer(x, *_LIKELY_EQUAL) is not None:
        extreme = ctx.emit(f"reduce_{kind}", x=data, axes=[axis], keep_dims=True)
        ctx.bind(y, _place(ctx, ctx.emit("equal", x=data, y=extreme), axis, keep, last))
    else:
        ctx.bind(y, ctx.emit(f"reduce_arg{kind}", x=data, axis=np.int32(axis), keep_dims=keep))


def _place(ctx: Context, found: Var, axis: int, keep: bool, last: bool) -> Var:
    """Where along an axis a truth value is first or last true."""
    size, rank = found.shape[axis], len(found.shape)
    order = _along(np.arange(size) if last else size - np.arange(size), axis, rank)
    ranked = ctx.emit("mul", x=ctx.cast(found, "int32"), y=order)
    best = ctx.emit("reduce_max", x=ranked, axes=[axis], keep_dims=keep)
    return best if last else ctx.emit("sub", x=np.int32(size), y=best)


def _along(numbers: Array, axis: int, rank: int) -> Array:
    """A vector of int32 that broadcasts along an axis."""
    return numbers.astype(np.int32).reshape([-1 if i == axis else 1 for i in range(rank)])


@lowers("Hardmax", attributes=("axis",))
def hardmax(ctx: Context, node: ir.Node) -> None:
    """1 at the first largest element along an axis, else 0."""
    y, x = node.outputs[0], ctx.read(node.inputs[0])
    rank = len(x.shape)
    axis = get_int(node, "axis", -1) % rank
    largest = ctx.emit("reduce_max", x=x, axes=[axis], keep_dims=True)
    place = _place(ctx, ctx.emit("equal", x=x, y=largest), axis, True, last=False)
    here = ctx.emit("equal", x=place, y=_along(np.arange(x.shape[axis]), axis, rank))
    ctx.bind(y, ctx.cast(here, ctx.mil_dtype(y)))


@lowers("TopK", attributes=("axis", "largest", "sorted"), inputs=2, outputs=2)
def top_k(ctx: Context, node: ir.Node) -> None:
    """`topk`, sorted, which is one of the orders that `sorted=0` allows."""
    x, (values, indices) = node.inputs[0], node.outputs
    assert x is not None
    axis, k = get_int(node, "axis", -1) % ctx.rank(x), ctx.constant_ints(node, 1)
    if k is None or len(k) != 1 or not 0 < k[0] <= ctx.shape(x)[axis]:
        raise Refused(f"k={k} is not one number between 1 and the size of the axis")
    data = ctx.read(x)
    ascending = not get_int(node, "largest", 1)
    best, where = ctx.emit("topk", x=data, k=np.int32(k[0]), axis=np.int32(axis), ascending=ascending)
    for value, result in ((values, best), (indices, where)):
        if value.uses() or value.is_graph_output():
            ctx.bind(value, result)


@lowers("OneHot", attributes=("axis",), inputs=3)
def one_hot(ctx: Context, node: ir.Node) -> None:
    """Whether the index equals the position, which gives indices outside of the axis nothing, unlike `one_hot`.

    Indices below 0 are counted from the end. Floats, which ONNX allows, are compared in float32.
    """
    indices, values, y = node.inputs[0], node.inputs[2], node.outputs[0]
    assert indices is not None
    assert values is not None
    depth = ctx.constant_ints(node, 1)
    if depth is None or len(depth) != 1:
        raise Refused("depth must be one constant")
    rank = ctx.rank(y)
    axis, kept = get_int(node, "axis", -1) % rank, ctx.width
    ctx.width = "float32"
    index = ctx.read(indices)
    ctx.width = kept
    spread = ctx.emit("expand_dims", x=index, axes=[axis])
    places = _along(np.arange(depth[0]), axis, rank)
    here = [ctx.emit("equal", x=spread, y=numbers.astype(dtype_of(index))) for numbers in (places, places - depth[0])]
    hot = ctx.emit("logical_or", x=here[0], y=here[1])
    pair = ctx.constant(values)
    if pair is not None and pair.tolist() == [0, 1] and ctx.mil_dtype(y) != "bool":
        ctx.bind(y, ctx.cast(hot, ctx.mil_dtype(y)))
        return
    off, on = _two(ctx, values)
    ctx.bind(y, select(ctx, hot, on, off, ctx.shape(y)))


def _two(ctx: Context, values: ir.Value) -> tuple[Var, Var]:
    """OneHot's two values as scalars."""
    data = ctx.constant(values)
    dtype = ctx.mil_dtype(values)
    if data is not None:
        off, on = (ctx.stored(np.asarray(one, dtype), f"{values.name}_{i}") for i, one in enumerate(data.reshape(-1)))
        return off, on
    pair = ctx.read(values)
    off, on = (
        ctx.reshape(
            ctx.emit("slice_by_size", x=pair, begin=np.asarray([i], np.int32), size=np.asarray([1], np.int32)), ()
        )
        for i in (0, 1)
    )
    return off, on

"""Sorting and searching. MIL leaves open which of equal elements comes first; here it is the one of lower index."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


def _order(x: Array, axis: int, ascending: bool) -> Array:
    """Indices that sort `x`, equal elements in their own order."""
    if not ascending:
        x = -x if x.dtype.kind == "f" else ~x  # `~` reverses the order of signed and unsigned integers alike
    return np.argsort(x, axis=axis, kind="stable")


@evaluates("argsort")
def argsort(call: Call) -> Array:
    """Indices that sort `x` along `axis`, largest first unless `ascending`."""
    order = _order(call.array("x"), call.integer("axis", -1), call.flag("ascending", False))
    return order.astype(np.int32)


@evaluates("topk")
def topk(call: Call) -> Array | tuple[Array, ...]:
    """The k largest, or smallest, elements along `axis` and their indices. A k of -1 takes all.

    Where `sort` is False any order is allowed; here they come sorted all the same.
    """
    x, axis = call.array("x"), call.integer("axis", -1)
    count = call.integer("k", 1)
    count = x.shape[axis] if count == -1 else count
    if not 0 <= count <= x.shape[axis]:
        raise EvaluationError(f"takes {count} of {x.shape[axis]} elements")
    call.flag("sort", True)
    order = _order(x, axis, call.flag("ascending", False))
    indices = np.take(order, np.arange(count), axis=axis)
    values = np.take_along_axis(x, indices, axis)
    dtype = call.text("output_indices_dtype", "int32")
    return (values, indices.astype(dtype)) if call.flag("return_indices", True) else values


@evaluates("reduce_argmax", "reduce_argmin")
def arg_extreme(call: Call) -> Array:
    """Index of the largest or smallest element along `axis`."""
    find = np.argmax if call.kind == "reduce_argmax" else np.argmin
    index = find(call.array("x"), axis=call.integer("axis", -1), keepdims=call.flag("keep_dims", False))
    return np.asarray(index).astype(call.text("output_dtype", "int32"))


@evaluates("non_zero")
def non_zero(call: Call) -> Array:
    """Indices of the elements that are not 0, one row each, in row-major order."""
    return np.argwhere(call.array("x")).astype(np.int32)

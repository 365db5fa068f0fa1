"""Elements written by index, by one of seven modes."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.ops.gather import positions
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_MODES: dict[str, Any] = {
    "add": np.add,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "sub": np.subtract,
}


def _written(call: Call, data: Array, where: tuple[Array, ...], updates: Array) -> Array:
    """`data` with `updates` written at `where` one after the other: of equal indices each counts, the last one last."""
    mode = call.text("mode", "add")
    if mode != "update" and mode not in _MODES:
        raise EvaluationError(f"unknown mode {mode!r}")
    integers = data.dtype.kind in "iu"
    if integers and mode == "div":
        raise EvaluationError("how integers are divided is not documented; cast to a float type first")
    result = data.astype(np.int64) if integers else data.copy()
    if mode == "update":
        result[where] = updates
    else:
        _MODES[mode].at(result, where, updates)
    return result


def _expect(updates: Array, shape: tuple[int, ...]) -> None:
    if updates.shape != shape:
        raise EvaluationError(f"updates of shape {list(updates.shape)}, expected {list(shape)}")


@evaluates("scatter")
def scatter(call: Call) -> Array:
    """Slices along `axis`, one for each index."""
    data, updates = call.array("data"), call.array("updates")
    axis = call.integer("axis", 0) % data.ndim
    found = positions(call, call.array("indices"), data.shape[axis])
    _expect(updates, (*data.shape[:axis], *found.shape, *data.shape[axis + 1 :]))
    front = np.moveaxis(updates, range(axis, axis + found.ndim), range(found.ndim))
    return np.moveaxis(_written(call, np.moveaxis(data, axis, 0), (found,), front), 0, axis)


@evaluates("scatter_along_axis")
def scatter_along_axis(call: Call) -> Array:
    """Single elements: the index is the coordinate along `axis`, all other coordinates are its own."""
    data, indices = call.array("data"), call.array("indices")
    axis = call.integer("axis", 0) % data.ndim
    found = positions(call, indices, data.shape[axis])
    updates = call.array("updates")
    _expect(updates, found.shape)
    where: list[Array] = list(np.indices(found.shape, sparse=True))
    where[axis] = found
    return _written(call, data, tuple(where), updates)


@evaluates("scatter_nd")
def scatter_nd(call: Call) -> Array:
    """Slices data[i, j, ...], one for each row (i, j, ...) of `indices`."""
    data, indices, updates = call.array("data"), call.array("indices"), call.array("updates")
    depth = indices.shape[-1]
    if depth > data.ndim:
        raise EvaluationError(f"indices of depth {depth} for a tensor of rank {data.ndim}")
    found = positions(call, indices, np.array(data.shape[:depth]))
    _expect(updates, (*found.shape[:-1], *data.shape[depth:]))
    return _written(call, data, tuple(np.moveaxis(found, -1, 0)), updates)

"""Elements picked by index. From iOS 17 on a negative index is out of bounds; before, it counts from the end."""

from __future__ import annotations

from math import prod

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_NEGATIVE_ALLOWED = ("CoreML5", "CoreML6")


def positions(call: Call, indices: Array, sizes: Array | int) -> Array:
    """Indices as numbers from 0 to `sizes` - 1.

    Without `validate_indices` a device does something undefined with others; an artifact that needs it is refused.

    Raises:
        EvaluationError: an index out of bounds.
    """
    call.flag("validate_indices", False)
    found = indices.astype(np.int64)
    if call.opset in _NEGATIVE_ALLOWED:
        found = np.where(found < 0, found + sizes, found)
    outside = (found < 0) | (found >= sizes)
    if outside.any():
        bound = np.broadcast_to(sizes, found.shape)[outside][0]
        raise EvaluationError(f"index {indices[outside][0]} is out of bounds for size {bound} in {call.opset}")
    return found


@evaluates("gather")
def gather(call: Call) -> Array:
    """Slices along `axis`, one for each index; the first `batch_dims` axes of both run together."""
    x, indices = call.array("x"), call.array("indices")
    axis, batch = call.integer("axis", 0) % x.ndim, call.integer("batch_dims", 0)
    found = positions(call, indices, x.shape[axis])
    call.room((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))
    if batch == 0:
        return np.take(x, found, axis)
    if not 0 < batch <= min(axis, indices.ndim) or x.shape[:batch] != indices.shape[:batch]:
        raise EvaluationError(f"batch_dims {batch} with axis {axis} and shapes {list(x.shape)}, {list(indices.shape)}")
    count = prod(x.shape[:batch])
    rows = zip(x.reshape(count, *x.shape[batch:]), found.reshape(count, *found.shape[batch:]), strict=True)
    picked = np.stack([np.take(row, index, axis - batch) for row, index in rows])
    return picked.reshape(*x.shape[:batch], *picked.shape[1:])


@evaluates("gather_along_axis")
def gather_along_axis(call: Call) -> Array:
    """The element at the index along `axis`, all other coordinates being the index's own."""
    x, axis = call.array("x"), call.integer("axis", 0)
    return np.take_along_axis(x, positions(call, call.array("indices"), x.shape[axis]), axis)


@evaluates("gather_nd")
def gather_nd(call: Call) -> Array:
    """x[i, j, ...] for each row (i, j, ...) of `indices`; the first `batch_dims` axes of both run together."""
    x, indices, batch = call.array("x"), call.array("indices"), call.integer("batch_dims", 0)
    depth = indices.shape[-1]
    if batch + depth > x.ndim or x.shape[:batch] != indices.shape[:batch]:
        raise EvaluationError(f"batch_dims {batch} with shapes {list(x.shape)}, {list(indices.shape)}")
    found = positions(call, indices, np.array(x.shape[batch : batch + depth]))
    own = np.indices(found.shape[:-1], sparse=True)[:batch]
    return np.asarray(x[(*own, *np.moveaxis(found, -1, 0))])

"""Parts of a tensor."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


def _mask(call: Call, name: str, rank: int) -> list[bool]:
    mask = call.maybe(name)
    return [False] * rank if mask is None else [bool(item) for item in mask.reshape(-1)]


def _indices(call: Call, shape: tuple[int, ...]) -> tuple[slice | int, ...]:
    """What `begin`, `end`, `stride` and the masks select, in numpy's terms.

    A masked begin or end is the first or last element in the direction of the stride. Negative positions count from
    the end, positions beyond the tensor are moved to its border.
    """
    rank = len(shape)
    begin = [int(item) for item in call.array("begin").reshape(-1)]
    end = [int(item) for item in call.array("end").reshape(-1)]
    stride_input = call.maybe("stride")
    stride = [1] * rank if stride_input is None else [int(item) for item in stride_input.reshape(-1)]
    free_begin, free_end = _mask(call, "begin_mask", rank), _mask(call, "end_mask", rank)
    single = _mask(call, "squeeze_mask", rank)
    if any(len(items) != rank for items in (begin, end, stride, free_begin, free_end, single)) or 0 in stride:
        raise EvaluationError(f"begin, end, stride and masks must have {rank} entries each, and no stride may be 0")
    found: list[slice | int] = []
    for axis, size in enumerate(shape):
        if single[axis]:
            position = 0 if free_begin[axis] else begin[axis]
            if not -size <= position < size:
                raise EvaluationError(f"index {position} is outside axis {axis} of size {size}")
            found.append(position)
        else:
            first = None if free_begin[axis] else begin[axis]
            found.append(slice(first, None if free_end[axis] else end[axis], stride[axis]))
    return tuple(found)


@evaluates("slice_by_index")
def slice_by_index(call: Call) -> Array:
    """x[begin:end:stride, ...]; an axis in `squeeze_mask` is indexed at its begin and removed."""
    x = call.array("x")
    return np.asarray(x[_indices(call, x.shape)])


@evaluates("slice_update")
def slice_update(call: Call) -> Array:
    """A copy of `x` in which the selected part is `update`."""
    x = call.array("x").copy()
    indices = _indices(call, x.shape)
    update = call.array("update")
    if x[indices].shape != update.shape:
        raise EvaluationError(f"an update of shape {list(update.shape)} for a slice of {list(x[indices].shape)}")
    x[indices] = update
    return x


@evaluates("slice_by_size")
def slice_by_size(call: Call) -> Array:
    """`size` elements from `begin` on along each axis, all that follow for a size of -1."""
    x = call.array("x")
    found = []
    for begin, count, size in zip(call.array("begin").tolist(), call.array("size").tolist(), x.shape, strict=True):
        first = begin + size if begin < 0 else begin
        last = size if count == -1 else first + count
        if not 0 <= first <= last <= size:
            raise EvaluationError(f"{count} elements from {begin} on are outside an axis of size {size}")
        found.append(slice(first, last))
    return x[tuple(found)]


@evaluates("crop")
def crop(call: Call) -> Array:
    """Takes rows and columns off both ends of the last two axes."""
    x = call.array("x")
    (top, bottom), (left, right) = call.ints("crop_height"), call.ints("crop_width")
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@evaluates("split")
def split(call: Call) -> tuple[Array, ...]:
    """Parts along `axis`: of `split_sizes`, or `num_splits` equal ones."""
    x, axis = call.array("x"), call.integer("axis")
    count, sizes = call.maybe("num_splits"), call.maybe("split_sizes")
    if sizes is None:
        if count is None or x.shape[axis] % int(count):
            raise EvaluationError(f"{count} equal parts of an axis of size {x.shape[axis]}")
        parts = int(count)
        return tuple(np.split(x, parts, axis))
    if sizes.sum() != x.shape[axis] or (count is not None and int(count) != sizes.size):
        raise EvaluationError(f"parts of sizes {sizes.tolist()} of an axis of size {x.shape[axis]}")
    return tuple(np.split(x, np.cumsum(sizes.astype(np.int64))[:-1], axis))


@evaluates("sliding_windows")
def sliding_windows(call: Call) -> Array:
    """Windows of `size` elements, `stride` apart, along `axis`; their elements stand on the axis after it."""
    x = call.array("x")
    axis = call.integer("axis") % x.ndim
    windows = np.lib.stride_tricks.sliding_window_view(x, call.integer("size"), axis=axis)
    every = (slice(None),) * axis + (slice(None, None, call.integer("stride", 1)),)
    result = np.moveaxis(windows[every], -1, axis + 1)
    call.room(result.shape)
    return result


@evaluates("reverse")
def reverse(call: Call) -> Array:
    """Backwards along `axes`, all by default."""
    x, axes = call.array("x"), call.maybe("axes")
    return np.flip(x, None if axes is None else tuple(int(axis) for axis in axes.reshape(-1)))


@evaluates("reverse_sequence")
def reverse_sequence(call: Call) -> Array:
    """Backwards along `seq_axis` for the first `lengths[i]` elements of each slice i of `batch_axis`."""
    x = call.array("x")
    sequence, batch = call.integer("seq_axis", 0) % x.ndim, call.integer("batch_axis", 0) % x.ndim
    lengths = call.array("lengths").astype(np.int64)
    if lengths.size != x.shape[batch] or ((lengths < 0) | (lengths > x.shape[sequence])).any():
        raise EvaluationError(f"lengths {lengths.tolist()} for a tensor of shape {list(x.shape)}")
    if sequence == batch:
        raise EvaluationError("seq_axis and batch_axis are the same axis")
    step = np.arange(x.shape[sequence]).reshape([-1 if axis == sequence else 1 for axis in range(x.ndim)])
    length = lengths.reshape([-1 if axis == batch else 1 for axis in range(x.ndim)])
    source = np.where(step < length, length - 1 - step, step)
    return np.take_along_axis(x, source, sequence)

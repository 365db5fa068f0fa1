"""Tensors put together, repeated, or made from nothing."""

from __future__ import annotations

import math

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


@evaluates("concat")
def concat(call: Call) -> Array:
    """Tensors one after the other along `axis`, or, with `interleave`, one slice of each in turn."""
    values, axis = call.arrays("values"), call.integer("axis")
    interleave = call.flag("interleave", False)
    values = tuple(value.reshape(1) if value.ndim == 0 else value for value in values)
    if not interleave:
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


@evaluates("stack")
def stack(call: Call) -> Array:
    """Tensors of one shape along a new axis."""
    return np.stack(call.arrays("values"), call.integer("axis"))


@evaluates("tile")
def tile(call: Call) -> Array:
    """Copies side by side, `reps` along each axis."""
    x, reps = call.array("x"), call.ints("reps")
    if len(reps) != x.ndim:
        raise EvaluationError(f"{len(reps)} counts for a tensor of rank {x.ndim}")
    call.room(tuple(size * count for size, count in zip(x.shape, reps, strict=True)))
    return np.tile(x, reps)


@evaluates("fill")
def fill(call: Call) -> Array:
    """`value` in every element of a new tensor."""
    value = call.maybe("value")
    return np.full(call.room(call.ints("shape")), np.float32(0) if value is None else value)


@evaluates("fill_like")
def fill_like(call: Call) -> Array:
    """`value` in every element of a tensor of another's shape."""
    value = call.maybe("value")
    return np.full(call.array("ref_tensor").shape, np.float32(0) if value is None else value)


@evaluates("range_1d")
def range_1d(call: Call) -> Array:
    """start, start + step, ... up to but not including `end`."""
    start, end, step = (call.array(name) for name in ("start", "end", "step"))
    if not step:
        raise EvaluationError("a step of 0")
    count = max(0, math.ceil((float(end) - float(start)) / float(step)))
    call.room((count,))
    return (start.astype(np.float64) + np.arange(count) * step.astype(np.float64)).astype(start.dtype)


@evaluates("one_hot")
def one_hot(call: Call) -> Array:
    """`on_value` where the position along the new `axis` is the index, `off_value` elsewhere.

    A negative index is refused: MIL does not say whether it counts from the end.
    """
    indices, size = call.array("indices"), call.integer("one_hot_vector_size")
    if (indices < 0).any():
        raise EvaluationError(f"index {indices.min()} is negative")
    call.room((size, indices.size))
    axis = call.integer("axis", -1) % (indices.ndim + 1)
    positions = np.arange(size).reshape([-1 if i == axis else 1 for i in range(indices.ndim + 1)])
    on, off = call.maybe("on_value"), call.maybe("off_value")
    return np.where(np.expand_dims(indices, axis) == positions, 1 if on is None else on, 0 if off is None else off)


@evaluates("band_part")
def band_part(call: Call) -> Array:
    """Zeroes whatever lies more than `lower` below or `upper` above the diagonal; negative keeps that triangle."""
    x, lower, upper = call.array("x"), call.integer("lower", -1), call.integer("upper", -1)
    below = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])
    inside = ((lower < 0) | (below <= lower)) & ((upper < 0) | (-below <= upper))
    return np.where(inside, x, np.zeros((), x.dtype))

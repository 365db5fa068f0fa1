"""Operations that keep the elements and change the shape."""

from __future__ import annotations

from math import prod

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates

_LEFT_ALIGNED = ("CoreML5", "CoreML6")
"""Opsets of iOS 15 and 16, whose reshape copies the size at the same index for a 0."""


def _zeros_filled(call: Call, shape: tuple[int, ...], source: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` with each 0 replaced by a size of `source`: from iOS 17 on counted from the right, 1 for one too many."""
    if 0 not in shape:
        return shape
    if call.opset in _LEFT_ALIGNED and len(shape) != len(source):
        raise EvaluationError(f"a 0 in shape {list(shape)} needs an input of the same rank, not {list(source)}")
    offset = len(source) - len(shape)
    return tuple(size or (source[index + offset] if index + offset >= 0 else 1) for index, size in enumerate(shape))


@evaluates("reshape")
def reshape(call: Call) -> Array:
    """The same elements in `shape`, where 0 copies a size of the input and -1 takes what is left."""
    x = call.array("x")
    wanted = tuple(int(size) for size in call.array("shape").reshape(-1))
    shape = _zeros_filled(call, wanted, x.shape)
    known = prod(size for size in shape if size != -1)
    if shape.count(-1) > 1 or min(shape, default=0) < -1 or (known != x.size if -1 not in shape else x.size % known):
        raise EvaluationError(f"cannot view {list(x.shape)} as {list(wanted)}")
    return x.reshape(shape)


@evaluates("reshape_like")
def reshape_like(call: Call) -> Array:
    """The shape put together from slices of other tensors' shapes."""
    shape: list[int] = []
    slices = zip(call.arrays("begins"), call.arrays("ends"), call.arrays("end_masks"), strict=True)
    for reference, (begin, end, to_the_end) in zip(call.arrays("ref_tensors"), slices, strict=True):
        shape += reference.shape[int(begin) : None if to_the_end else int(end)]
    return call.array("x").reshape(shape)


@evaluates("expand_dims")
def expand_dims(call: Call) -> Array:
    """Inserts axes of size 1; the indices are those of the result."""
    return np.expand_dims(call.array("x"), call.ints("axes"))


@evaluates("squeeze")
def squeeze(call: Call) -> Array:
    """Removes axes of size 1, all by default; a named axis of another size stays, as in PyTorch."""
    x, axes = call.array("x"), call.maybe("axes")
    named = range(x.ndim) if axes is None else {int(axis) % x.ndim for axis in axes.reshape(-1)}
    return x.squeeze(tuple(axis for axis in named if x.shape[axis] == 1))


@evaluates("flatten2d")
def flatten2d(call: Call) -> Array:
    """A matrix: the axes before `axis`, and those from it on."""
    x = call.array("x")
    axis = call.integer("axis", 1)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@evaluates("transpose")
def transpose(call: Call) -> Array:
    """Axes in the order of `perm`."""
    return np.transpose(call.array("x"), call.ints("perm"))


@evaluates("shape")
def shape(call: Call) -> Array:
    """The sizes of `x`."""
    return np.array(call.array("x").shape, np.int32)

"""The same elements in another order, shape or selection."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeport.sample import Array
from edgeport.targets.coreai.program import Operand, Shape, Tensor


def signed(values: Sequence[int] | int) -> Array:
    """A parameter of signed integers."""
    return np.asarray(values, np.int32)


def unsigned(values: Sequence[int] | int) -> Array:
    """A parameter of unsigned integers."""
    return np.asarray(values, np.uint32)


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Another shape with as many elements."""
    target = tuple(int(d) for d in shape)
    assert x.size == math.prod(target), (x.shape, target)
    if target == x.shape:
        return x
    if x.data is not None and x.dtype == x.data.dtype.name:
        return x.builder.constant(x.data.reshape(target))
    return x.builder.step("reshape", [x, signed(target)], target, x.dtype)


def transpose(x: Tensor, order: Sequence[int]) -> Tensor:
    """Axes in another order."""
    if list(order) == list(range(x.rank)):
        return x
    if x.data is not None and x.dtype == x.data.dtype.name:
        return x.builder.constant(x.data.transpose(order))
    return x.builder.step("transpose", [x, unsigned(order)], [x.shape[a] for a in order], x.dtype)


def moved(x: Tensor, source: int, destination: int) -> Tensor:
    """One axis elsewhere."""
    order = [a for a in range(x.rank) if a != source % x.rank]
    order.insert(destination % x.rank, source % x.rank)
    return transpose(x, order)


def unsqueeze(x: Tensor, axis: int) -> Tensor:
    """An axis of size 1 at a place of the result."""
    axis %= x.rank + 1
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def squeeze(x: Tensor, axis: int) -> Tensor:
    """Without an axis of size 1."""
    axis %= x.rank
    assert x.shape[axis] == 1
    return reshape(x, (*x.shape[:axis], *x.shape[axis + 1 :]))


def broadcast(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeated along axes of size 1 and new leading axes."""
    if tuple(shape) == x.shape:
        return x
    return x.builder.step("broadcast_to", [x, unsigned(shape)], shape, x.dtype)


def tile(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """Repeated as a whole along every axis."""
    if all(r == 1 for r in repeats):
        return x
    shape = [d * r for d, r in zip(x.shape, repeats, strict=True)]
    return x.builder.step("tile", [x, unsigned(repeats)], shape, x.dtype)


def flip(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Backwards along some axes."""
    return x.builder.step("reverse", [x, signed(axes)], x.shape, x.dtype) if axes else x


def cut(x: Tensor, axis: int, start: int, stop: int, step: int = 1) -> Tensor:
    """Elements `start`, `start + step`, ... before `stop` of an axis; none of the numbers is negative."""
    return box(x, {axis % x.rank: (start, stop, step)})


def box(x: Tensor, cuts: dict[int, tuple[int, int, int]]) -> Tensor:
    """Cuts along several axes: axis -> start, stop, step, all within the axis."""
    full = [cuts.get(a, (0, d, 1)) for a, d in enumerate(x.shape)]
    assert all(0 <= start <= stop <= d and step > 0 for (start, stop, step), d in zip(full, x.shape, strict=True))
    if all((start, stop, step) == (0, d, 1) for (start, stop, step), d in zip(full, x.shape, strict=True)):
        return x
    starts, stops, steps = (signed(values) for values in zip(*full, strict=True))
    shape = [len(range(*bounds)) for bounds in full]
    return x.builder.step("slice_", [x, starts, stops, steps], shape, x.dtype)


def concat(parts: Sequence[Tensor], axis: int) -> Tensor:
    """One after the other along an axis; parts without elements are left out."""
    axis %= parts[0].rank
    whole = [p for p in parts if p.shape[axis]] or [parts[0]]
    if len(whole) == 1:
        return whole[0]
    shape = list(whole[0].shape)
    shape[axis] = sum(p.shape[axis] for p in whole)
    return whole[0].builder.step("concat", [signed(axis), *whole], shape, whole[0].dtype)


def stack(parts: Sequence[Tensor], axis: int) -> Tensor:
    """Along a new axis."""
    return concat([unsqueeze(p, axis) for p in parts], axis)


def pad(x: Tensor, widths: Sequence[tuple[int, int]], value: Operand = 0, mode: str = "constant") -> Tensor:
    """Elements before and behind every axis; none of the widths is negative.

    Args:
        x: what is padded.
        widths: one pair an axis.
        value: of new elements in mode constant.
        mode: constant, replicate, reflect, symmetric or circular.
    """
    if not any(before or behind for before, behind in widths):
        return x
    shape = [d + before + behind for d, (before, behind) in zip(x.shape, widths, strict=True)]
    flat = unsigned([n for pair in widths for n in pair])
    return x.builder.step("pad", [x, flat, x.like(value)], shape, x.dtype, padding_mode=mode)


def take(x: Tensor, indices: Tensor | Array, axis: int) -> Tensor:
    """Slices of an axis by number, in the order and shape of `indices` (int32, not below minus the size)."""
    axis %= x.rank
    if not isinstance(indices, Tensor):
        indices = x.builder.constant(np.asarray(indices, np.int32))
    order = [axis, *(a for a in range(x.rank) if a != axis)]
    rows = transpose(x, order)
    picked = rows.builder.step(
        "gather_nd", [rows, unsqueeze(indices, indices.rank)], (*indices.shape, *rows.shape[1:]), x.dtype
    )
    lead = indices.rank
    back = [*range(lead, lead + axis), *range(lead), *range(lead + axis, picked.rank)]
    return transpose(picked, back)


def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    """Slices of the leading axes at positions `indices[..., :]` (int32)."""
    depth = indices.shape[-1]
    shape: Shape = (*indices.shape[:-1], *x.shape[depth:])
    return x.builder.step("gather_nd", [x, indices], shape, x.dtype)


def take_along(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """`numpy.take_along_axis`: indices (int32) of the shape of `x` but for the axis."""
    return x.builder.step("gather_along_axis", [x, indices, signed(axis % x.rank)], indices.shape, x.dtype)

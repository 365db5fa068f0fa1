"""Layouts: how the stored axes of a tensor stand to the axes of its ONNX value.

A layout lists, for every stored axis, the ONNX axis that it holds, or ADDED for a stored axis of size 1 that
the ONNX value does not have. An ONNX axis of size 1 may be missing.

    NCHW value stored as NHWC          (0, 2, 3, 1)
    [N, C, L] stored as [N, 1, L, C]   (0, ADDED, 2, 1)

ONNX Transpose, Squeeze and Unsqueeze only change the layout; so does a Reshape that splits axes or merges
neighbours. Data moves (TRANSPOSE) only when a kernel needs another order of axes larger than 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Layout: TypeAlias = tuple[int, ...]
Shape: TypeAlias = tuple[int, ...]
ADDED = -1


def identity(rank: int) -> Layout:
    """The ONNX order itself."""
    return tuple(range(rank))


def channels_last(rank: int) -> Layout:
    """N, spatial axes, C."""
    return (0, *range(2, rank), 1)


def stored_shape(shape: Sequence[int], layout: Layout) -> Shape:
    """Shape of the stored tensor of an ONNX value of shape `shape`."""
    return tuple(1 if axis == ADDED else shape[axis] for axis in layout)


def is_full(layout: Layout, rank: int) -> bool:
    """Whether the layout is a plain permutation of all ONNX axes."""
    return len(layout) == rank and ADDED not in layout and len(set(layout)) == rank


def completed(layout: Layout, rank: int) -> Layout:
    """A plain permutation in the same order: added axes dropped, missing ones put where they disturb least."""
    order = [axis for axis in layout if axis != ADDED]
    for axis in range(rank):
        if axis not in order:
            order.insert(order.index(axis - 1) + 1 if axis - 1 in order else 0, axis)
    return tuple(order)


def large_axes(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """The ONNX axes larger than 1 in stored order: all that matters for where the data lies."""
    return tuple(axis for axis in layout if axis != ADDED and shape[axis] != 1)


def same_order(shape: Sequence[int], a: Layout, b: Layout) -> bool:
    """Whether both layouts put every element at the same place."""
    return large_axes(shape, a) == large_axes(shape, b)


@dataclass(frozen=True)
class Step:
    """One operator of a conversion: TRANSPOSE with a permutation or RESHAPE to a shape, and the shape after it."""

    code: Literal["TRANSPOSE", "RESHAPE"]
    argument: tuple[int, ...]
    shape: Shape


def conversion(shape: Sequence[int], source: Layout, target: Layout) -> tuple[Step, ...]:
    """The operators that turn a stored tensor of one layout into another of the same value."""
    have, want = stored_shape(shape, source), stored_shape(shape, target)
    if same_order(shape, source, target):
        return () if have == want else (Step("RESHAPE", want, want),)
    if sorted(source) == sorted(target) and source.count(ADDED) <= 1 and len(source) <= 6:
        return (Step("TRANSPOSE", tuple(source.index(axis) for axis in target), want),)
    # General case: merge axes that stay neighbours, so that any rank fits a kernel, transpose, and split again.
    before, after = large_axes(shape, source), large_axes(shape, target)
    runs: list[list[int]] = []
    for axis in before:
        follows = bool(runs) and after.index(axis) == after.index(runs[-1][-1]) + 1
        if follows:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    sizes = [math.prod(shape[a] for a in run) for run in runs]
    perm = tuple(sorted(range(len(runs)), key=lambda i: after.index(runs[i][0])))
    merged, moved = tuple(sizes), tuple(sizes[i] for i in perm)
    steps = [Step("TRANSPOSE", perm, moved)]
    if merged != have:
        steps.insert(0, Step("RESHAPE", merged, merged))
    if moved != want:
        steps.append(Step("RESHAPE", want, want))
    return tuple(steps)


def transposed(layout: Layout, perm: Sequence[int]) -> Layout:
    """Layout of Transpose(x, perm) over the same stored tensor, given the layout of x."""
    return tuple(ADDED if axis == ADDED else list(perm).index(axis) for axis in layout)


def aligned(layout: Layout, rank: int, out_rank: int) -> Layout:
    """The layout, for an operand with fewer axes, that broadcasts against one stored in `layout`.

    Numpy's rule lines the last axes up; missing leading ones become added axes.
    """
    missing = out_rank - rank
    return tuple(ADDED if axis == ADDED or axis < missing else axis - missing for axis in layout)


def reshaped(shape: Shape, out_shape: Shape, layout: Layout) -> Layout | None:
    """Layout of Reshape(x) over the data of x stored in `layout`, None if data has to move first.

    Axes are matched in the smallest groups of equal product; a group passes when its axes lie together and in
    order in the stored tensor. Axes of size 1 are left out of the result.
    """
    groups = _axis_groups(shape, out_shape)
    order = large_axes(shape, layout)
    result: list[int] = []
    done = 0
    while done < len(order):
        ins, outs = next(g for g in groups if order[done] in g[0])
        if order[done : done + len(ins)] != ins:
            return None
        result.extend(outs)
        done += len(ins)
    return tuple(result)


def reshapable(shape: Shape, out_shape: Shape, layout: Layout, image: bool = False) -> Layout:
    """A layout near to `layout` from which `reshaped` succeeds.

    Each group is pulled together where its last axis is stored (what lies innermost stays there, so that whole rows
    move) or where its first one is; whichever gives the order that is wanted, else the former.

    Args:
        shape: of the value.
        out_shape: it is reshaped to.
        layout: in which it is stored.
        image: the result is wanted channels last; otherwise in ONNX order, which most consumers want.
    """
    groups = [ins for ins, _ in _axis_groups(shape, out_shape)]

    def pulled(order: tuple[int, ...], direction: int) -> Layout:
        result: list[int] = []
        for axis in order[::direction]:
            if axis not in result:
                result.extend(next(ins for ins in groups if axis in ins)[::direction])
        return completed(tuple(result[::direction]), len(shape))

    def fits(candidate: Layout) -> bool:
        if not image:
            return same_order(shape, candidate, identity(len(shape)))
        target = reshaped(shape, out_shape, candidate)
        return target is not None and same_order(out_shape, target, channels_last(len(out_shape)))

    order = large_axes(shape, layout)
    late, early = pulled(order, -1), pulled(order, 1)
    return early if fits(early) else late


def _axis_groups(shape: Shape, out_shape: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    ins = [a for a, d in enumerate(shape) if d != 1]
    outs = [a for a, d in enumerate(out_shape) if d != 1]
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(ins) and j < len(outs):
        start_i, start_j = i, j
        a, b = shape[ins[i]], out_shape[outs[j]]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a, i = a * shape[ins[i]], i + 1
            else:
                b, j = b * out_shape[outs[j]], j + 1
        groups.append((tuple(ins[start_i:i]), tuple(outs[start_j:j])))
    return groups

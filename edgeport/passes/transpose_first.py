"""Data moves once: a Transpose comes before the Reshape that merges dimensions, and leaves dimensions of size 1 out.

    x[1, 32, 8, 16] --> Reshape([1, 256, 16]) --> Transpose(0, 2, 1) --> y[1, 16, 256]
    ==>   x --> Transpose(0, 3, 1, 2) --> Reshape([1, 16, 256]) --> y

    x --> Reshape([1, 65, 1, 4, 16]) --> Transpose(2, 0, 3, 1, 4) --> Reshape([1, 4, 65, 16]) --> y
    ==>   x --> Reshape([1, 65, 4, 16]) --> Transpose(0, 2, 1, 3) --> y

In the first form the Transpose meets what made x: another Transpose, or an operator that stores its result in an order
of its own. In the second, Reshapes that only add and drop ones go. Shapes must be static, and what stands between the
two read by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    get_ints,
    insert_before,
    nodes,
    producer,
    static_shape,
    take_over,
    used_once,
)
from edgeport.passes.registry import register

Shape = tuple[int, ...]


@register("transpose_first")
def transpose_first(model: ir.Model) -> bool:
    """Rewrites every pair of either form."""
    changed = False
    for transpose in nodes(model, "Transpose"):
        changed |= _before_merge(model, transpose)
    for transpose in nodes(model, "Transpose"):
        changed |= _without_ones(model, transpose)
    return changed


def _before_merge(model: ir.Model, transpose: ir.Node) -> bool:
    reshape, order = producer(transpose.inputs[0], "Reshape"), get_ints(transpose, "perm")
    if reshape is None or order is None or not used_once(reshape.outputs[0]):
        return False
    x, y = reshape.inputs[0], transpose.outputs[0]
    before, between, after = static_shape(x), static_shape(reshape.outputs[0]), static_shape(y)
    if x is None or before is None or between is None or after is None or 0 in before:
        return False
    merged = merges(before, between)
    if merged is None:
        return False
    perm = [axis for group in order for axis in merged[group]]
    fine = insert_before(transpose, "Transpose", [x], {"perm": perm}, name=f"{y.name}/fine")
    fine.type, fine.shape = y.type, ir.Shape([before[axis] for axis in perm])
    take_over(y, "Reshape", [fine, add_initializer(model, f"{y.name}/shape", np.asarray(after, np.int64))])
    return True


def merges(before: Shape, after: Shape) -> list[list[int]] | None:
    """For each axis behind a Reshape the axes in front that it merges, at least two that hold data somewhere.

    None if an axis is split or one of size 1 appears.
    """
    groups: list[list[int]] = []
    axis = 0
    for size in after:
        group: list[int] = []
        product = 1
        while axis < len(before) and (not group or product < size):
            product *= before[axis]
            group.append(axis)
            axis += 1
        if product != size or not group:
            return None
        groups.append(group)
    while axis < len(before) and before[axis] == 1:
        groups[-1].append(axis)
        axis += 1
    if axis < len(before) or all(sum(before[a] > 1 for a in group) < 2 for group in groups):
        return None
    return groups


def _without_ones(model: ir.Model, transpose: ir.Node) -> bool:
    reshape, order, inner = producer(transpose.inputs[0], "Reshape"), get_ints(transpose, "perm"), transpose.outputs[0]
    if reshape is None or order is None or not used_once(reshape.outputs[0]) or not used_once(inner):
        return False
    ((reader, _),) = inner.uses()
    between, after = static_shape(reshape.outputs[0]), static_shape(reader.outputs[0])
    if reader.op_type != "Reshape" or reader.domain != "" or between is None or after is None or 0 in between:
        return False
    axes = _dropped_to(order, between, after)
    if axes is None:
        return False
    ranked = sorted(axes)
    y = reader.outputs[0]
    shape = [between[axis] for axis in ranked]
    target = add_initializer(model, f"{y.name}/before", np.asarray(shape, np.int64))
    x = insert_before(reader, "Reshape", [reshape.inputs[0], target], name=f"{y.name}/flat")
    x.type, x.shape = y.type, ir.Shape(shape)
    take_over(y, "Transpose", [x], {"perm": [ranked.index(axis) for axis in axes]})
    return True


def _dropped_to(order: Sequence[int], shape: Shape, after: Shape) -> list[int] | None:
    """The axes that remain, in the Transpose's order, if only ones are dropped to reach `after`; None if it isn't so.

    Of ones side by side the first of the axes in front of the Transpose remain, since those move least.
    """
    kept: list[int] = []
    position = 0
    while position < len(order):
        run = position
        while run < len(order) and shape[order[run]] == 1:
            run += 1
        ones = 0
        while len(kept) + ones < len(after) and after[len(kept) + ones] == 1:
            ones += 1
        if ones > run - position:
            return None
        stay = set(sorted(order[position:run])[:ones])
        kept += [axis for axis in order[position:run] if axis in stay]
        position = run
        if position < len(order):
            if len(kept) == len(after) or shape[order[position]] != after[len(kept)]:
                return None
            kept.append(order[position])
            position += 1
    return kept if len(kept) == len(after) < len(order) else None

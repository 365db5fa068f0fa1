"""A Gather of consecutive elements by constant indices is a Slice, one of all of them nothing but a Reshape.

    x [8,5] --Gather(axis 0, [2,3,4])--> [3,5]         ==>  x --> Slice(2:5 of axis 0)
    x [4,64] --GatherND(all rows, [2,2,1])--> [2,2,64] ==>  x --> Reshape [2,2,64]

PyTorch's adaptive pools, masks and position tables are exported so. Slices and Reshapes move less, and targets can
look through them. One single index stays a Gather, which drops its axis.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_int,
    insert_before,
    nodes,
    reshape_target,
    static_shape,
    take_over,
)
from edgeport.passes.registry import register
from edgeport.sample import Array


@register("gather_ranges")
def gather_ranges(model: ir.Model) -> bool:
    """Rewrites each Gather and GatherND whose constant indices rise by 1."""
    changed = False
    for node in nodes(model, "Gather", "GatherND"):
        x, y, indices = node.inputs[0], node.outputs[0], constant(node.inputs[1])
        shape, target = static_shape(x), reshape_target(y)
        if x is None or indices is None or not shape or target is None or constant(x) is not None or not indices.size:
            continue
        axis = get_int(node, "axis", 0) % len(shape)
        size = shape[axis]
        if node.op_type == "Gather":
            places: Array = np.where(indices < 0, indices + size, indices).reshape(-1)
        else:
            axes = shape[: indices.shape[-1]]
            if get_int(node, "batch_dims", 0):
                continue
            rows = _rows(indices, axes)
            if rows is None:
                continue
            size, places = math.prod(axes), rows
        first, count = int(places[0]), len(places)
        if not np.array_equal(places, first + np.arange(count)) or first < 0 or first + count > size:
            continue
        if count == size:
            take_over(y, "Reshape", [x, add_initializer(model, f"{y.name}_shape", target)])
        elif node.op_type == "Gather" and count > 1:
            limits = [
                add_initializer(model, f"{y.name}_{n}", np.asarray([v], np.int64))
                for n, v in (("start", first), ("end", first + count), ("axis", axis))
            ]
            if indices.ndim == 1:
                take_over(y, "Slice", [x, *limits])
            else:
                part = insert_before(node, "Slice", [x, *limits], name=f"{y.name}_part")
                take_over(y, "Reshape", [part, add_initializer(model, f"{y.name}_shape", target)])
        else:
            continue
        changed = True
    return changed


def _rows(indices: Array, axes: tuple[int, ...]) -> Array | None:
    """Numbers of the elements over the leading axes that `indices` name in their last axis; None if one is outside."""
    coordinates = np.where(indices < 0, indices + np.asarray(axes), indices).reshape(-1, len(axes))
    if (coordinates < 0).any() or (coordinates >= np.asarray(axes)).any():
        return None
    steps = np.asarray([math.prod(axes[i + 1 :]) for i in range(len(axes))])
    return np.asarray(coordinates @ steps)

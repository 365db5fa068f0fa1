"""Interleaved slices put side by side are SpaceToDepth (the Focus layer of YOLOv5 and YOLOX).

    x --+--> x[:, :, 0::2, 0::2] --+
        +--> x[:, :, 1::2, 0::2] --+--> Concat(1) --> Conv(W)    ==>    x --> SpaceToDepth(2) --> Conv(W')
        +--> x[:, :, 0::2, 1::2] --+
        +--> x[:, :, 1::2, 1::2] --+

Applies when x has four dimensions, the last two of them even, and each of the four slices stands there once.
SpaceToDepth orders them by row, then by column; in another order they need one ungrouped convolution with constant
weights as their only reader, whose W' then has the input channels of W in the new order.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_int,
    input_of,
    ints,
    nodes,
    producer,
    static_shape,
    take_over,
    used_once,
)
from edgeport.passes.registry import register


@register("fuse_space_to_depth")
def fuse_space_to_depth(model: ir.Model) -> bool:
    """Replaces every Concat of the four interleaved slices of one image."""
    changed = False
    for node in nodes(model, "Concat"):
        if len(node.inputs) != 4 or get_int(node, "axis", 0) not in (1, -3):
            continue
        found = [_interleaved(value) for value in node.inputs]
        sources = {id(x): x for x, _ in found}
        places = [place for _, place in found]
        x = found[0][0]
        shape = static_shape(x)
        if len(sources) != 1 or x is None or shape is None or sorted(places) != [(0, 0), (0, 1), (1, 0), (1, 1)]:
            continue
        if len(shape) != 4 or shape[2] % 2 or shape[3] % 2 or x.dtype != ir.DataType.FLOAT:
            continue
        if places != sorted(places) and not _reorder(model, node.outputs[0], places, shape[1]):
            continue
        take_over(node.outputs[0], "SpaceToDepth", [x], {"blocksize": 2})
        changed = True
    return changed


def _interleaved(value: ir.Value | None) -> tuple[ir.Value | None, tuple[int, int]]:
    """What a chain of slices by step 2 starts from, and the row and column that it starts at; -1 where it has none."""
    place = {2: -1, 3: -1}
    while (node := producer(value, "Slice")) is not None:
        starts, ends, axes, steps = (ints(input_of(node, i)) for i in range(1, 5))
        shape = static_shape(node.inputs[0])
        if starts is None or ends is None or axes is None or steps is None or shape is None:
            break
        axes = [a % len(shape) for a in axes]
        if any(a not in place or place[a] >= 0 for a in axes) or any(s != 2 for s in steps):
            break
        if any(s not in (0, 1) for s in starts) or any(e < shape[a] for e, a in zip(ends, axes, strict=True)):
            break
        place.update(zip(axes, starts, strict=True))
        value = node.inputs[0]
    return value, (place[2], place[3])


def _reorder(model: ir.Model, value: ir.Value, places: list[tuple[int, int]], channels: int) -> bool:
    """Gives the convolution that alone reads `value` weights for slices in SpaceToDepth's order; False if none does."""
    user = value.consumers()[0] if used_once(value) else None
    if user is None or user.domain != "" or user.op_type != "Conv" or get_int(user, "group", 1) != 1:
        return False
    kernel = user.inputs[1]
    weight = constant(kernel)
    if kernel is None or weight is None:
        return False
    order = np.concatenate([places.index(p) * channels + np.arange(channels) for p in sorted(places)])
    user.replace_input_with(1, add_initializer(model, f"{kernel.name}_by_place", weight[:, order]))
    return True

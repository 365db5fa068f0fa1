"""A transposition of merged axes moves the axes themselves.

    x [B,H,T,D] --> Reshape [B*H,T,D] --> Transpose(0,2,1) --> Reshape [B,H,D,T] --> y
        ==>
    x [B,H,T,D] --> Transpose(0,1,3,2) --> y

Applies when the second Reshape only splits axes and nothing else reads what lies between. Where x has other axes than
those, a Reshape to them remains in front. PyTorch's exporter writes scaled_dot_product_attention so.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.edit import get_ints, nodes, producer, static_shape, take_over, used_once
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("unmerge_transposes")
def unmerge_transposes(model: ir.Model) -> bool:
    """Rewrites every such chain."""
    changed = False
    for last in nodes(model, "Reshape"):
        moved = producer(last.inputs[0], "Transpose")
        first = None if moved is None else producer(moved.inputs[0], "Reshape")
        if moved is None or first is None or not used_once(moved.outputs[0]) or not used_once(first.outputs[0]):
            continue
        x, perm = first.inputs[0], get_ints(moved, "perm")
        shapes = [static_shape(v) for v in (x, moved.outputs[0], last.outputs[0])]
        if x is None or perm is None or any(s is None for s in shapes):
            continue
        source, merged, target = (s or () for s in shapes)
        groups = _groups(target, merged)
        if groups is None:
            continue
        back = [axis for position in range(len(perm)) for axis in groups[perm.index(position)]]
        split = tuple(target[axis] for axis in back)
        if split != source:
            x = Site(model, last).reshape(x, split, "split")
        take_over(last.outputs[0], "Transpose", [x], {"perm": [back.index(axis) for axis in range(len(target))]})
        changed = True
    return changed


def _groups(source: tuple[int, ...], merged: tuple[int, ...]) -> list[list[int]] | None:
    """For every merged axis the axes that it consists of; None if one is made of parts of axes, or empty."""
    if len(source) <= len(merged) or math.prod(source) != math.prod(merged) or 0 in source:
        return None
    groups: list[list[int]] = []
    axis = 0
    for size in merged:
        group: list[int] = []
        while math.prod(source[a] for a in group) < size or (not group and axis < len(source)):
            if axis == len(source):
                return None
            group.append(axis)
            axis += 1
        if math.prod(source[a] for a in group) != size:
            return None
        groups.append(group)
    while groups and axis < len(source) and source[axis] == 1:
        groups[-1].append(axis)
        axis += 1
    return groups if axis == len(source) else None

"""Every change of shape without movement of data is one Reshape to a constant shape.

    x --> Flatten | Squeeze | Unsqueeze --> y       ==>     x --> Reshape([1, 12, 64]) --> y
    x --> Reshape --> Reshape --> y                 ==>     x --> Reshape --> y

Applies when the shape behind is known up to one dimension (written as -1). Of two in a row the first goes when nothing
else reads its output, or when the second restores the shape of x.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    get_int,
    ints,
    nodes,
    producer,
    reshape_target,
    static_shape,
    take_over,
    used_once,
)
from edgeport.passes.registry import register


@register("merge_reshapes")
def merge_reshapes(model: ir.Model) -> bool:
    """Rewrites and merges until each chain is one Reshape."""
    changed = False
    for node in nodes(model, "Flatten", "Squeeze", "Unsqueeze"):
        target = reshape_target(node.outputs[0])
        if target is not None:
            y = node.outputs[0]
            take_over(y, "Reshape", [node.inputs[0], add_initializer(model, f"{y.name}/shape", target)])
            changed = True
    for node in nodes(model, "Reshape"):
        first, dims_behind = producer(node.inputs[0], "Reshape"), ints(node.inputs[1])
        if first is None or dims_behind is None or 0 in dims_behind or get_int(node, "allowzero", 0):
            continue
        x, between = first.inputs[0], first.outputs[0]
        dims = static_shape(x)
        if used_once(between) or (dims is not None and dims == static_shape(node.outputs[0])):
            take_over(node.outputs[0], "Reshape", [x, node.inputs[1]])
            changed = True
    return changed

"""Zeros in front of a MaxPool come by Concat: ONNX Runtime would move a Pad into the pool, which pads with -inf.

    x --> Pad(0) --> MaxPool --> y    ==>    zeros, x, zeros --> Concat (one an axis) --> MaxPool --> y

`Pad_Fusion` of ONNX Runtime 1.31.1 is an optimization that apps have on (docs/decisions/0005). Needs the shape.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_str, ints, nodes, scalar, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("pools_behind_pads")
def pools_behind_pads(model: ir.Model) -> bool:
    """Rewrites every such Pad."""
    changed = False
    for node in nodes(model, "Pad"):
        if any(use.node.op_type == "MaxPool" for use in node.outputs[0].uses()):
            changed |= _concatenated(Site(model, node))
    return changed


def _concatenated(site: Site) -> bool:
    node = site.node
    x, shape = node.inputs[0], static_shape(node.inputs[0])
    pads = ints(node.inputs[1])
    value = scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else 0.0
    if x is None or x.dtype is None or shape is None or pads is None or value is None:
        return False
    axes = ints(node.inputs[3]) if len(node.inputs) > 3 else list(range(len(shape)))
    if get_str(node, "mode", "constant") != "constant" or axes is None or min(pads, default=0) < 0 or not any(pads):
        return False
    size, dtype = list(shape), x.dtype.numpy()
    for i, axis in enumerate(axes):
        parts = []
        for role, count in (("before", pads[i]), ("after", pads[i + len(axes)])):
            sizes = [count if k == axis % len(size) else s for k, s in enumerate(size)]
            parts.append(site.constant(f"{role}{axis}", np.full(sizes, value, dtype)) if count else None)
        if parts == [None, None]:
            continue
        x = site.op("Concat", [v for v in (parts[0], x, parts[1]) if v is not None], f"padded{axis}", axis=axis)
        size[axis % len(size)] += pads[i] + pads[i + len(axes)]
    take_over(node.outputs[0], "Identity", [x])
    return True

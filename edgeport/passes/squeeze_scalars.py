"""A Reshape to a scalar becomes a Squeeze.

    x [1, 1] --> Reshape(shape = []) --> y    ==>    x --> Squeeze(axes = 0, 1) --> y

NVIDIA's parser warns of every tensor without elements, the shape here (`Empty initializer` in onnx-tensorrt's
WeightsContext).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("squeeze_scalars")
def squeeze_scalars(model: ir.Model) -> bool:
    """Rewrites every such Reshape of a tensor whose shape is known."""
    changed = False
    for node in nodes(model, "Reshape"):
        x, shape = node.inputs
        target = constant(shape)
        before = static_shape(x)
        if target is None or target.size or before is None:
            continue
        if before:
            axes = Site(model, node).constant("axes", np.arange(len(before), dtype=np.int64))
            take_over(node.outputs[0], "Squeeze", [x, axes])
        else:
            take_over(node.outputs[0], "Identity", [x])
        changed = True
    return changed

"""Dropout in inference is the identity, and its mask is true everywhere.

    x --> Dropout --> y, mask      ==>      x --> Identity --> y,  constant true [shape of x] --> Identity --> mask

Applies where training_mode is absent or constant false, and, if the mask is read, the shape of x is known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import input_of, nodes, scalar, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_dropout")
def expand_dropout(model: ir.Model) -> bool:
    """Expands every Dropout that does not train."""
    changed = False
    for node in nodes(model, "Dropout"):
        x, training = node.inputs[0], input_of(node, 2)
        shape = static_shape(x)
        masks = [mask for mask in node.outputs[1:] if mask.uses() or mask.is_graph_output()]
        if (training is not None and scalar(training) != 0) or (masks and shape is None):
            continue
        for mask in masks:
            take_over(mask, "Identity", [Site(model, node).constant("mask", np.ones(shape or (), np.bool_))])
        take_over(node.outputs[0], "Identity", [x])
        changed = True
    return changed

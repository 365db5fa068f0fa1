"""Compress by a constant condition picks elements that are known now.

    Compress(x, [0, 1, 1], axis=1)     ==>     Gather(x, [1, 2], axis=1)
    Compress(x, [0, 1, 1])             ==>     Gather(Reshape(x, [-1]), [1, 2])

Not applied where nothing is picked.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_int, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("fold_compress")
def fold_compress(model: ir.Model) -> bool:
    """Rewrites every Compress whose condition is a constant."""
    changed = False
    for node in nodes(model, "Compress"):
        x, condition = node.inputs[0], constant(node.inputs[1])
        if x is None or condition is None or not condition.any():
            continue
        site = Site(model, node)
        flat = "axis" not in node.attributes
        data = site.reshape(x, [-1], "flat") if flat else x
        places = site.constant("places", np.flatnonzero(condition).astype(np.int64))
        take_over(node.outputs[0], "Gather", [data, places], {"axis": 0 if flat else get_int(node, "axis", 0)})
        changed = True
    return changed

"""A Loop that only counts gets a condition, which holds at first.

    Loop(n, -, x)    ==>    Loop(n, true, x)

The body of a Loop without one may read its condition all the same; NVIDIA's parser knows no such tensor then (importer
of Loop in onnx-tensorrt). What the body says of it next counts in ONNX Runtime, with and without. ONNX operator Loop.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import nodes
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("loop_conditions")
def loop_conditions(model: ir.Model) -> bool:
    """Gives one to every such Loop."""
    changed = False
    for node in nodes(model, "Loop"):
        if len(node.inputs) > 1 and node.inputs[1] is None:
            node.replace_input_with(1, Site(model, node).constant("always", np.array(True)))
            changed = True
    return changed

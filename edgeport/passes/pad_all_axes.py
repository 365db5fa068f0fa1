"""A Pad of some axes says so of all.

    x [N,C,H,W] --> Pad(pads [1, 1, 1, 1]; axes [2, 3]) --> y    ==>    x --> Pad(pads [0, 0, 1, 1, 0, 0, 1, 1]) --> y

For runtimes older than opset 18. Needs constant pads and a known rank.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, input_of, ints, nodes, rank
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("pad_all_axes")
def pad_all_axes(model: ir.Model) -> bool:
    """Rewrites every Pad with axes."""
    changed = False
    for node in nodes(model, "Pad"):
        changed |= input_of(node, 3) is not None and over_all_axes(Site(model, node))
    return changed


def over_all_axes(site: Site) -> bool:
    """Rewrites one Pad with axes; False where they, its pads or its rank are not known."""
    node = site.node
    axes, pads, dims = ints(node.inputs[3]), constant(node.inputs[1]), rank(node.inputs[0])
    if axes is None or pads is None or dims is None:
        return False
    whole = np.zeros((2, dims), np.int64)
    whole[:, [axis % dims for axis in axes]] = pads.reshape(2, -1)
    node.replace_input_with(1, site.constant("pads", whole.reshape(-1)))
    node.resize_inputs(3 if node.inputs[2] is not None else 2)
    return True

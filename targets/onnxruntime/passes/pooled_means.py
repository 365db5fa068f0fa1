"""The mean over an image is a global pool, which ONNX Runtime has in integers.

    x [N,C,H,W] --> ReduceMean(axes 2, 3) --> y [N,C,1,1]    ==>    x --> GlobalAveragePool --> y

Needs the shape, and keepdims.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import nodes, take_over
from edgeport.passes.registry import register
from edgeport.targets.onnxruntime.scheme import is_spatial_mean


@register("pooled_means")
def pooled_means(model: ir.Model) -> bool:
    """Replaces every such mean."""
    changed = False
    for node in nodes(model, "ReduceMean"):
        if is_spatial_mean(node) and node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT:
            take_over(node.outputs[0], "GlobalAveragePool", [node.inputs[0]])
            changed = True
    return changed

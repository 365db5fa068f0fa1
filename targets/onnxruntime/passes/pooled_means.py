"""The mean over an image is a global pool, which ONNX Runtime has in integers.

    DQ(x) [N,C,H,W] --> ReduceMean(axes 2, 3) --> y --> Q
    ==>
    DQ(x) --> GlobalAveragePool --> Q --> DQ --> Reshape (where axes are not kept) --> y --> Q

Reshape moves integers, as Q and DQ around it have the same parameters. Means in float stay. Needs the shape.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site
from edgeport.quantize.groups import sole_consumer
from edgeport.targets.onnxruntime.scheme import is_spatial_mean


@register("pooled_means")
def pooled_means(model: ir.Model) -> bool:
    """Replaces every such mean."""
    changed = False
    for node in nodes(model, "ReduceMean"):
        x, quantize = node.inputs[0], sole_consumer(node.outputs[0])
        if x is None or quantize is None or quantize.op_type != "QuantizeLinear" or not is_spatial_mean(node):
            continue
        if get_int(node, "keepdims", 1):
            take_over(node.outputs[0], "GlobalAveragePool", [x])
        else:
            _flattened(Site(model, node), x, quantize)
        changed = True
    return changed


def _flattened(site: Site, x: ir.Value, quantize: ir.Node) -> None:
    parameters = quantize.inputs[1:]
    pooled = site.op("GlobalAveragePool", [x], "pooled")
    stored = site.op("QuantizeLinear", [pooled, *parameters], "pooled:q")
    restored = site.op("DequantizeLinear", [stored, *parameters], "pooled:dq")
    take_over(site.node.outputs[0], "Reshape", [restored, site.constant("shape", np.asarray([0, -1], np.int64))])

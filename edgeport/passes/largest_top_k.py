"""A TopK of the smallest looks for the largest of what is negated.

    x --> TopK(largest = 0) --> values    ==>    x --> Neg --> TopK --> Neg --> values

For parsers that ignore `largest` (TensorRT's of 8.4; since 10 they do not: importers of TopK in onnx-tensorrt). ONNX
operator TopK-11.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import bypass, get_int, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read


@register("largest_top_k")
def largest_top_k(model: ir.Model) -> bool:
    """Rewrites every such TopK; the smallest come in the same order."""
    changed = False
    for node in nodes(model, "TopK"):
        if get_int(node, "largest", 1):
            continue
        site = Site(model, node)
        negated = site.op("Neg", [node.inputs[0]], "negated")
        options = {name: get_int(node, name, default) for name, default in (("axis", -1), ("sorted", 1))}
        values, indices = site.several("TopK", [negated, node.inputs[1]], ("values", "indices"), **options)
        old_values, old_indices = node.outputs
        if is_read(node, 1):
            bypass(old_indices, indices)
        if is_read(node, 0):
            take_over(old_values, "Neg", [values])
        changed = True
    return changed

"""What TensorRT's ONNX parsers read otherwise than ONNX means it, written so that all read the same.

    a [K] --> MatMul(b [N,K,M]) --> y [N,M]    ==>    a --> Reshape([1,K]) --> MatMul(b) --> Reshape --> y
    x --> TopK(largest = 0) --> values         ==>    x --> Neg --> TopK --> Neg --> values

    matrix_products   parsers up to 11 make a vector a matrix on the wrong side of the batch ("reshape changes volume")
    largest_top_k     the parser of 8.4 ignores `largest`, those since 10 do not (importers of TopK in onnx-tensorrt)

Both need the shapes. ONNX operators MatMul-13 and TopK-11.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import bypass, get_int, nodes, rank, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read


@register("matrix_products")
def matrix_products(model: ir.Model) -> bool:
    """Rewrites products of a vector with more than a matrix."""
    changed = False
    for node in nodes(model, "MatMul"):
        ranks = [rank(value) for value in node.inputs]
        out = static_shape(node.outputs[0])
        if None in ranks or 1 not in ranks or max(r or 0 for r in ranks) < 3 or out is None:
            continue
        site = Site(model, node)
        factors = [
            site.reshape(value, dims, role) if value is not None and rank(value) == 1 else value
            for value, dims, role in zip(node.inputs, ([1, -1], [-1, 1]), ("row", "column"), strict=True)
        ]
        product = site.op("MatMul", factors, "product")
        take_over(node.outputs[0], "Reshape", [product, site.constant("shape", np.asarray(out, np.int64))])
        changed = True
    return changed


@register("largest_top_k")
def largest_top_k(model: ir.Model) -> bool:
    """Looks for the largest of the negated, which are the smallest in the same order."""
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

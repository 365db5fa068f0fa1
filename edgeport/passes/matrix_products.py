"""A product of a vector with more than a matrix has its vector as a matrix of one row or column.

    a [K] --> MatMul(b [N,K,M]) --> y [N,M]    ==>    a --> Reshape([1,K]) --> MatMul(b) --> Reshape --> y

For parsers that make the matrix on the wrong side of the batch (TensorRT's up to 11: "reshape changes volume"). Needs
the shapes. ONNX operator MatMul-13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import nodes, rank, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


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

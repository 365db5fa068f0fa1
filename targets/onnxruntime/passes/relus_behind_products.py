"""A Relu that leaves floats behind a product of integers is a Max, so that the product runs in integers.

    DQ, DQ --> Gemm --> Relu --> y    ==>    DQ, DQ --> Gemm --> Max(0) --> y

ONNX Runtime 1.31 makes one FusedGemm of the first, in floats, before it looks for integers. A Relu that only Q reads
stays: there is nothing left of it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import nodes, producer, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("relus_behind_products")
def relus_behind_products(model: ir.Model) -> bool:
    """Rewrites every such Relu."""
    changed = False
    for node in nodes(model, "Relu"):
        x, y = node.inputs[0], node.outputs[0]
        product = producer(x, "Gemm")
        if x is None or product is None or producer(product.inputs[0], "DequantizeLinear") is None:
            continue
        if y.is_graph_output() or any(use.node.op_type != "QuantizeLinear" for use in y.uses()):
            take_over(y, "Max", [x, Site(model, node).constant("zero", np.float32(0))])
            changed = True
    return changed

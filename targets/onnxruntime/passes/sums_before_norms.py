"""What is added in front of a LayerNormalization is a Sum, so that ONNX Runtime leaves the two apart.

    a, b --> Add --> LayerNormalization    ==>    a, b --> Sum --> LayerNormalization

ONNX Runtime 1.31 makes one SkipLayerNormalization of the first on a CPU, which takes four times as long as both
(148 us and 35 us for 128 rows of 256: docs/decisions/0018).
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import nodes, take_over
from edgeport.passes.registry import register


@register("sums_before_norms")
def sums_before_norms(model: ir.Model) -> bool:
    """Rewrites every such Add."""
    changed = False
    for node in nodes(model, "LayerNormalization"):
        add = None if node.inputs[0] is None else node.inputs[0].producer()
        if add is not None and add.op_type == "Add" and add.domain == "" and add.outputs[0].dtype == ir.DataType.FLOAT:
            take_over(add.outputs[0], "Sum", list(add.inputs))
            changed = True
    return changed

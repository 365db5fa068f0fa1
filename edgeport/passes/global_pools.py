"""A pool whose one window covers the whole image is a global pool.

    x [N,C,7,7] --> AveragePool(kernel 7x7) --> y [N,C,1,1]    ==>    x --> GlobalAveragePool --> y

Applies without padding, to MaxPool likewise. Targets reduce faster than they slide a window, in integers above all.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_ints, get_str, nodes, static_shape, take_over
from edgeport.passes.registry import register

_GLOBAL = {"AveragePool": "GlobalAveragePool", "MaxPool": "GlobalMaxPool"}


@register("global_pools")
def global_pools(model: ir.Model) -> bool:
    """Replaces every such pool."""
    changed = False
    for node in nodes(model, *_GLOBAL):
        shape, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
        if shape is None or out is None or get_ints(node, "kernel_shape") != list(shape[2:]):
            continue
        plain = not any(get_ints(node, "pads") or ()) and set(get_ints(node, "dilations") or (1,)) == {1}
        single = len(node.outputs) == 1 and all(size == 1 for size in out[2:])
        if plain and single and get_str(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID"):
            take_over(node.outputs[0], _GLOBAL[node.op_type], [node.inputs[0]])
            changed = True
    return changed

"""An inner value whose only purpose is to become another takes the other's name.

    a --> Conv --> y/inner --> Identity --> y    ==>    a --> Conv --> y

What passes leave that end a rewriting with an Identity. Applies where the inner value is named after the outer one, so
no name of the graph before them is lost, and both stand in the same graph.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import nodes, sweep
from edgeport.passes.registry import register


@register("absorb_identities")
def absorb_identities(model: ir.Model) -> bool:
    """Removes every such Identity."""
    changed = False
    for node in nodes(model, "Identity"):
        inner, outer = node.inputs[0], node.outputs[0]
        maker = None if inner is None else inner.producer()
        if inner is None or maker is None or maker.graph is not node.graph or inner.is_graph_output():
            continue
        name = outer.name or ""
        if not (inner.name or "").startswith(f"{name}/"):
            continue
        inner.type, inner.shape = outer.type or inner.type, outer.shape or inner.shape
        outer.name = None
        outer.replace_all_uses_with(inner, replace_graph_outputs=True)
        inner.name = name
        sweep(node)
        changed = True
    return changed

"""Constants are initializers: nothing else in the canonical graph holds weights.

    Constant --> c --> Op          [c] --> Op          (initializer of the main graph, same name)
    input W (with a default) -->   [W]                 (no longer a graph input)

Applies to every Constant node in every graph (tensor, scalar and list forms) except strings and sparse tensors,
and to every initializer of a subgraph. A constant that is a graph output is read through an Identity, so that each
output is made by a node. An initializer repeated among the graph inputs (the rule before IR version 4) is only a
default there; the canonical graph has it fixed.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, insert_before, nodes, sweep
from edgeport.passes.registry import register


@register("lift_constants")
def lift_constants(model: ir.Model) -> bool:
    """Turns Constant nodes and defaulted inputs into initializers of the main graph."""
    changed = _unlist_initializers(model.graph)
    for node in nodes(model, "Constant"):
        old = node.outputs[0]
        array = constant(old)
        if array is None or old.name is None:
            continue
        new = add_initializer(model, old.name, array)
        if old.is_graph_output():
            new.name = f"{old.name}/value"
            output = insert_before(node, "Identity", [new], name=old.name, like=old)
            old.replace_all_uses_with(output, replace_graph_outputs=True)
        else:
            old.replace_all_uses_with(new)
        sweep(node)
        changed = True
    for graph in tuple(model.graph.subgraphs()):
        for name, value in tuple(graph.initializers.items()):
            if value.is_graph_output() or value.const_value is None:
                continue
            new = add_initializer(model, name, value.const_value.numpy())
            value.replace_all_uses_with(new)
            del graph.initializers[name]
            changed = True
    return changed


def _unlist_initializers(graph: ir.Graph) -> bool:
    kept = [value for value in graph.inputs if not value.is_initializer()]
    if len(kept) == len(graph.inputs):
        return False
    graph.inputs[:] = kept
    return True

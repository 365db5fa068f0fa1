"""If with a constant condition becomes the branch taken.

    cond=true --> If { then: x --> Relu --> a | else: ... } --> y      ==>      x --> Relu --> y

Part of constant folding. The branch's nodes move in front of the If; its constants move to the main graph.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, insert_before, nodes, sweep


def inline_constant_ifs(model: ir.Model) -> bool:
    """Inlines every If whose condition is a constant, in all graphs."""
    changed = False
    for node in nodes(model, "If"):
        condition = constant(node.inputs[0])
        if condition is not None and condition.size == 1:
            _inline(model, node, node.attributes["then_branch" if condition.item() else "else_branch"].as_graph())
            changed = True
    return changed


def _inline(model: ir.Model, node: ir.Node, branch: ir.Graph) -> None:
    for old, new in zip(tuple(node.outputs), splice(model, node, branch), strict=True):
        assert old.name is not None
        output = insert_before(node, "Identity", [new], name=old.name, like=old)
        old.replace_all_uses_with(output, replace_graph_outputs=True)
    sweep(node)


def splice(model: ir.Model, node: ir.Node, branch: ir.Graph) -> list[ir.Value]:
    """Moves the nodes of a branch in front of its If and its constants to the main graph; returns its results."""
    assert node.graph is not None
    for name, value in tuple(branch.initializers.items()):
        if value.const_value is None:
            continue
        value.replace_all_uses_with(add_initializer(model, name, value.const_value.numpy()), replace_graph_outputs=True)
        del branch.initializers[name]
    results = list(branch.outputs)
    branch.outputs.clear()
    body = list(branch)
    branch.remove(body)
    node.graph.insert_before(node, body)
    return results

"""Parts without elements disappear.

    x [2,8] --> Split([8,0]) --> a [2,8], b [2,0] --> Concat(a', b) --> y    ==>    x --> a' --> y

Applies to inputs of Concat and outputs of Split that are known to be empty along its axis. Function bodies write such
parts where a model leaves nothing over (RotaryEmbedding that turns whole heads); mobile runtimes have no empty tensors.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import bypass, constant, get_int, input_of, ints, nodes, rank, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("remove_empty")
def remove_empty(model: ir.Model) -> bool:
    """Removes empty parts of every Concat, then of every Split."""
    changed = False
    for node in nodes(model, "Concat"):
        changed |= _without_empty_inputs(node)
    for node in nodes(model, "Split"):
        changed |= _without_empty_outputs(Site(model, node))
    return changed


def _without_empty_inputs(node: ir.Node) -> bool:
    axis, full = get_int(node, "axis", 0), []
    for value in node.inputs:
        shape = None if value is None else static_shape(value)
        if shape is None or shape[axis] != 0:
            full.append(value)
    if len(full) == len(node.inputs) or not full:
        return False
    if len(full) == 1 and full[0] is not None and constant(full[0]) is None:
        return bypass(node.outputs[0], full[0])
    take_over(node.outputs[0], "Concat", full, {"axis": axis})
    return True


def _without_empty_outputs(site: Site) -> bool:
    node = site.node
    x, sizes, dims = node.inputs[0], ints(input_of(node, 1)), rank(node.inputs[0])
    if x is None or not sizes or 0 not in sizes or dims is None or len(sizes) != len(node.outputs):
        return False
    kept = [(size, output) for size, output in zip(sizes, node.outputs, strict=True) if size]
    if any(
        not size and (output.uses() or output.is_graph_output())
        for size, output in zip(sizes, node.outputs, strict=True)
    ):
        return False
    if len(kept) == 1:
        take_over(kept[0][1], "Identity", [x])
        return True
    axis = get_int(node, "axis", 0)
    parts = site.constant("parts", np.asarray([size for size, _ in kept], np.int64))
    names = [output.name for _, output in kept]
    values = site.several("Split", [x, parts], [str(i) for i in range(len(kept))], axis=axis)
    for (_, output), value, name in zip(kept, values, names, strict=True):
        value.type, value.shape = output.type, output.shape
        if output.is_graph_output():
            output.name = None
            value.name = name
        output.replace_all_uses_with(value, replace_graph_outputs=True)
    assert node.graph is not None
    node.graph.remove(node, safe=True)
    return True

"""LSTM, GRU and RNN with the batch first become the usual form, time first, between Transposes.

    x[b,t,i] --> LSTM(layout=1) --> Y[b,t,d,h]     ==>     x --> Transpose --> LSTM --> Transpose --> Y
                               \\-> Y_h[b,d,h]                                       \\-> Transpose --> Y_h

Transposes cost targets that label their axes nothing. ONNX Runtime has the usual form only.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int, insert_before, nodes
from edgeport.passes.registry import register

_BATCH_FIRST = (0, 5, 6)
"""Inputs whose first two axes change places: X, initial_h, initial_c."""
_SWAPPED = [1, 0, 2]
_SEQUENCE = [2, 0, 1, 3]


@register("time_major_recurrence")
def time_major_recurrence(model: ir.Model) -> bool:
    """Rewrites every recurrent operator with layout 1, in all graphs."""
    changed = False
    for node in nodes(model, "LSTM", "GRU", "RNN"):
        if get_int(node, "layout", 0) == 1:
            _rewrite(node)
            changed = True
    return changed


def _rewrite(node: ir.Node) -> None:
    for index in _BATCH_FIRST:
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is not None:
            name = f"{node.name}/{value.name}/time_first"
            node.replace_input_with(index, insert_before(node, "Transpose", [value], {"perm": _SWAPPED}, name=name))
    del node.attributes["layout"]
    following: list[ir.Node] = []
    for index, output in enumerate(node.outputs):
        if not output.name or not (output.uses() or output.is_graph_output()):
            output.shape = None
            continue
        moved = ir.Value(name=output.name, type=output.type, shape=output.shape)
        output.name, output.shape = f"{output.name}/time_first", None
        output.replace_all_uses_with(moved, replace_graph_outputs=True)
        perm = _SEQUENCE if index == 0 else _SWAPPED
        following.append(
            ir.node("Transpose", [output], {"perm": perm}, outputs=[moved], name=f"{moved.name}/Transpose")
        )
    assert node.graph is not None
    node.graph.insert_after(node, following)

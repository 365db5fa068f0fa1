"""The same computation is done once, the same constant is kept once.

    x --+--> Relu --> a          x --> Relu --> a (read by both)
        `--> Relu --> b   ==>

Applies to nodes of the main graph with equal operator, attributes and inputs, except random operators and those with
subgraphs, and to initializers with equal type, shape and bytes.
"""

from __future__ import annotations

import hashlib

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.passes.registry import register


@register("merge_duplicates")
def merge_duplicates(model: ir.Model) -> bool:
    """Merges initializers first, so that nodes that read equal constants are equal."""
    changed = _merge_initializers(model.graph)
    return bool(common.CommonSubexpressionEliminationPass()(model).modified) or changed


def _merge_initializers(graph: ir.Graph) -> bool:
    first: dict[tuple[ir.DataType, tuple[object, ...], bytes], ir.Value] = {}
    changed = False
    for value in tuple(graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or value.is_graph_input() or value.is_graph_output():
            continue
        key = (tensor.dtype, tuple(tensor.shape), hashlib.sha256(tensor.tobytes()).digest())
        kept = first.setdefault(key, value)
        if kept is not value and value.name is not None:
            value.replace_all_uses_with(kept)
            del graph.initializers[value.name]
            changed = True
    return changed

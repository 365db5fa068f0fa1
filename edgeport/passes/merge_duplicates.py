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
    alike: dict[tuple[ir.DataType, tuple[object, ...]], list[ir.Value]] = {}
    for value in graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or value.is_graph_input() or value.is_graph_output():
            continue
        alike.setdefault((tensor.dtype, tuple(tensor.shape)), []).append(value)
    changed = False
    for group in alike.values():
        first: dict[bytes, ir.Value] = {}
        for value in group if len(group) > 1 else ():  # hashing what stands alone would only cost time
            assert value.const_value is not None
            kept = first.setdefault(hashlib.sha256(value.const_value.tobytes()).digest(), value)
            if kept is not value and value.name is not None:
                value.replace_all_uses_with(kept)
                del graph.initializers[value.name]
                changed = True
    return changed

"""Nodes, initializers, functions and opset imports that no graph output depends on disappear.

    x --> Conv --> y (output)          x --> Conv --> y (output)
     `--> Relu --> (nobody)    ==>

Applies to every node none of whose outputs is read, in every graph. Graph inputs stay, read or not: they are the
model's signature.
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.passes.registry import register


@register("remove_dead_code")
def remove_dead_code(model: ir.Model) -> bool:
    """Removes what no graph output depends on."""
    changed = False
    passes: tuple[ir.passes.PassBase, ...] = (
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
        common.RemoveUnusedOpsetsPass(),
    )
    for pass_ in passes:
        changed = pass_(model).modified or changed
    return changed

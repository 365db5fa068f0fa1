"""One node through its lowering, with every objection to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgeport.targets.lowering import C, Lowering, Refused, objections
from edgeport.targets.unsupported import unsupported


def problems_of(
    ctx: C, node: ir.Node, table: Mapping[str, Lowering[C]], ready: Callable[[C, ir.Node, Lowering[C]], bool]
) -> list[Refused]:
    """Emits what a node computes and binds its outputs; what stands against it, nothing of which is raised.

    Args:
        ctx: the target's working state.
        node: the node.
        table: the target's lowerings.
        ready: prepares the state for the node, or raises `Refused`; False for a node that can only be passed over.
    """
    lowering = table.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if lowering is None:
        return [unsupported(node)]
    problems = list(objections(node, lowering))
    if problems:
        return problems
    try:
        if ready(ctx, node, lowering):
            lowering.handler(ctx, node)
    except Refused as refused:
        return [refused]
    return []

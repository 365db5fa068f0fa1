"""What the shared passes fused: operators that run as one kernel, and what was folded into weights."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from edgeport.quantize.groups import find_groups

_WHOLE = (
    "Attention",
    "LayerNormalization",
    "RMSNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "Gelu",
    "Swish",
    "HardSwish",
    "HardSigmoid",
)
"""Operators that a model spells out in many, or calls by name."""


def count_fusions(canonical: ir.Model, batch_norms: int) -> dict[str, int]:
    """How often each was found; what was not found is left out.

    Args:
        canonical: the canonical graph.
        batch_norms: how many the source had.

    Returns:
        Operator -> number of its nodes in the canonical graph; `MatMul + bias` -> products that add their bias
        themselves; `BatchNormalization (folded)` -> nodes that are gone into weights.
    """
    nodes = Counter(node.op_type for node in canonical.graph)
    found = {op: nodes[op] for op in _WHOLE}
    groups = set(find_groups(canonical.graph, lambda anchor, activation: False).values())
    found["MatMul + bias"] = sum(group.bias is not None for group in groups)
    found["BatchNormalization (folded)"] = batch_norms - nodes["BatchNormalization"]
    return {name: count for name, count in found.items() if count > 0}

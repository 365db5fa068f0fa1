"""x * Sigmoid(x) becomes Swish (SiLU).

    x --+--> Mul(alpha) --> Sigmoid --> Mul --> y      ==>      x --> Swish(alpha) --> y
        `------------------------------^

Applies to both orders, with or without the factor alpha > 0, and no reader of anything in between.
Ramachandran et al. 2017, arXiv 1710.05941.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgeport.passes.activation import fuse_activation
from edgeport.passes.edit import nodes
from edgeport.passes.polynomial import Expansion
from edgeport.passes.registry import register


@register("fuse_swish")
def fuse_swish(model: ir.Model) -> bool:
    """Fuses every x * Sigmoid(alpha * x)."""
    changed = False
    for node in nodes(model, "Sigmoid"):
        changed |= fuse_activation(node, _argument, {(1, 1): 1.0}, "Swish")
    return changed


def _argument(inside: Expansion) -> Mapping[str, float | str] | None:
    if inside.terms.keys() != {(1,)} or inside.terms[(1,)] <= 0:
        return None
    return {"alpha": inside.terms[(1,)]}

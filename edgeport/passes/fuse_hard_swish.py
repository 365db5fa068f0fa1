"""x times the piecewise linear sigmoid becomes HardSwish.

    x --+--> Add(3) --> Clip(0, 6) --> Mul --> Div(6) --> y        ==>      x --> HardSwish --> y
        `------------------------------^

    x --+--> HardSigmoid(1/6, 1/2) --> Mul --> y                   ==>      x --> HardSwish --> y
        `------------------------------^

Applies to every order of the factors, and no reader of anything in between. Howard et al. 2019, arXiv 1905.02244,
section 5.2.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.activation import fuse_activation
from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.edit import get_float, nodes
from edgeport.passes.fuse_hard_sigmoid import OFFSET, SLOPE
from edgeport.passes.polynomial import Expansion
from edgeport.passes.registry import register


@register("fuse_hard_swish")
def fuse_hard_swish(model: ir.Model) -> bool:
    """Fuses both spellings."""
    changed = False
    for node in nodes(model, "Clip"):
        low, high = clip_limits(node)
        if low == 0 and high is not None and high > 0:
            top = high

            def argument(inside: Expansion, top: float = top) -> dict[str, float | str] | None:
                return {} if inside.equals({(1,): SLOPE * top, (0,): OFFSET * top}) else None

            changed |= fuse_activation(node, argument, {(1, 1): 1 / top}, "HardSwish")
    for node in nodes(model, "HardSigmoid"):
        exact = Expansion({(1,): get_float(node, "alpha", 0.2), (0,): get_float(node, "beta", 0.5)})
        if exact.equals({(1,): SLOPE, (0,): OFFSET}):
            changed |= fuse_activation(
                node, lambda inside: {} if inside.equals({(1,): 1.0}) else None, {(1, 1): 1.0}, "HardSwish"
            )
    return changed

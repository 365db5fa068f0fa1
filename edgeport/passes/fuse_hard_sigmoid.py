"""The piecewise linear sigmoid of MobileNetV3 becomes HardSigmoid.

    x --> Add(3) --> Clip(0, 6) --> Div(6) --> y         ==>     x --> HardSigmoid(alpha=1/6, beta=1/2) --> y
    x --> Mul(1/6) --> Add(1/2) --> Clip(0, 1) --> y     ==>     the same

Applies when the whole is clip(x / 6 + 1 / 2, 0, 1), however the factor is spread around the Clip, and nothing in
between has another reader. Other slopes stay as they are: no mobile runtime has them as one operator.
Howard et al. 2019, arXiv 1905.02244, section 5.2.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.activation import fuse_activation
from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.edit import nodes
from edgeport.passes.polynomial import Expansion
from edgeport.passes.registry import register

SLOPE, OFFSET = 1 / 6, 0.5


@register("fuse_hard_sigmoid")
def fuse_hard_sigmoid(model: ir.Model) -> bool:
    """Fuses every clip(x / 6 + 1 / 2, 0, 1)."""
    changed = False
    for node in nodes(model, "Clip"):
        low, high = clip_limits(node)
        if low == 0 and high is not None and high > 0:
            top = high

            def argument(inside: Expansion, top: float = top) -> dict[str, float | str] | None:
                exact = inside.equals({(1,): SLOPE * top, (0,): OFFSET * top})
                return {"alpha": SLOPE, "beta": OFFSET} if exact else None

            changed |= fuse_activation(node, argument, {(0, 1): 1 / top}, "HardSigmoid")
    return changed

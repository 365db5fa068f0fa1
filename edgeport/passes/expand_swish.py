"""Swish, HardSwish and Mish are written as the products that they are.

    Swish      x --> Mul(alpha) --> Sigmoid --> Mul(x) --> y        (no first Mul where alpha is 1)
    HardSwish  x --> HardSigmoid(1/6, 1/2) --> Mul(x) --> y
    Mish       x --> Softplus --> Tanh --> Mul(x) --> y

For runtimes older than opset 24, 14 and 18. Ramachandran et al. 2017, arXiv 1710.05941; Howard et al. 2019, arXiv
1905.02244, section 5.2; Misra 2019, arXiv 1908.08681.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_float, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, number


@register("expand_swish")
def expand_swish(model: ir.Model) -> bool:
    """Expands every Swish."""
    changed = False
    for node in nodes(model, "Swish"):
        site, x, alpha = Site(model, node), node.inputs[0], get_float(node, "alpha", 1.0)
        inside = x if alpha == 1 else site.op("Mul", [x, number(site, alpha, x, "alpha")], "inside")
        take_over(node.outputs[0], "Mul", [x, site.op("Sigmoid", [inside], "gate")])
        changed = True
    return changed


@register("expand_hard_swish")
def expand_hard_swish(model: ir.Model) -> bool:
    """Expands every HardSwish."""
    changed = False
    for node in nodes(model, "HardSwish"):
        gate = Site(model, node).op("HardSigmoid", [node.inputs[0]], "gate", alpha=1 / 6, beta=0.5)
        take_over(node.outputs[0], "Mul", [node.inputs[0], gate])
        changed = True
    return changed


@register("expand_mish")
def expand_mish(model: ir.Model) -> bool:
    """Expands every Mish."""
    changed = False
    for node in nodes(model, "Mish"):
        site, x = Site(model, node), node.inputs[0]
        gate = site.op("Tanh", [site.op("Softplus", [x], "softplus")], "gate")
        take_over(node.outputs[0], "Mul", [x, gate])
        changed = True
    return changed

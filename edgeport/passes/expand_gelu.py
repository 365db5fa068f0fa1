"""Gelu is written with Erf or, where it says so, with Tanh: for runtimes older than opset 20.

    x --+--> Div(sqrt 2) --> Erf --> Add(1) --> Mul --> Mul(1/2) --> y
        `--------------------------------------^

    approximate = tanh:  x --+--> Mul(x) --> Mul(x) --> Mul(0.044715) --> Add(x) --> Mul(sqrt(2/pi)) --> Tanh --> ...

In the order in which PyTorch writes them, which runtimes know. Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.edit import get_str, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, number


@register("expand_gelu")
def expand_gelu(model: ir.Model) -> bool:
    """Expands every Gelu."""
    changed = False
    for node in nodes(model, "Gelu"):
        site, x = Site(model, node), node.inputs[0]
        if get_str(node, "approximate", "none") == "tanh":
            cube = site.op("Mul", [site.op("Mul", [x, x], "square"), x], "cube")
            bent = site.op("Add", [x, site.op("Mul", [cube, number(site, 0.044715, x, "bend")], "bent")], "inside")
            gate = site.op("Mul", [bent, number(site, math.sqrt(2 / math.pi), x, "slope")], "scaled")
            gate = site.op("Tanh", [gate], "gate")
        else:
            gate = site.op("Erf", [site.op("Div", [x, number(site, math.sqrt(2), x, "root")], "inside")], "gate")
        shifted = site.op("Add", [gate, number(site, 1, x, "one")], "shifted")
        take_over(node.outputs[0], "Mul", [site.op("Mul", [x, shifted], "double"), number(site, 0.5, x, "half")])
        changed = True
    return changed

"""Convolutions and pools along one axis get a second axis of size 1, for runtimes that would add it themselves.

    x[N, C, L] --> Conv(W[M, C, k]) --> y
    ==>   x --> Unsqueeze [3] --> Conv(W[M, C, k, 1]) --> Squeeze [3] --> y

A runtime that adds the axis itself makes tensors whose names nobody knows beforehand.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, add_initializer, constant, get_ints, nodes, rank, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_PER_AXIS = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0, "output_shape": 1}
"""Attributes with one number an axis, and the number that leaves an axis of size 1 alone."""


@register("convolve_in_2d")
def convolve_in_2d(model: ir.Model) -> bool:
    """Rewrites every such Conv and ConvTranspose with constant weights, MaxPool without indices, and AveragePool."""
    kernels: dict[ir.Value, ir.Value] = {}
    found = nodes(model, "Conv", "ConvTranspose", "MaxPool", "AveragePool")
    rewritten = [_rewrite(model, node, kernels) for node in found]
    return any(rewritten)


def _rewrite(model: ir.Model, node: ir.Node, kernels: dict[ir.Value, ir.Value]) -> bool:
    x, y = node.inputs[0], node.outputs[0]
    if x is None or rank(x) != 3 or any(value.name and value.uses() for value in node.outputs[1:]):
        return False
    others = list(node.inputs[1:])
    if node.op_type.startswith("Conv"):
        weight = others[0]
        array = constant(weight)
        if weight is None or array is None:
            return False
        if weight not in kernels:
            kernels[weight] = add_initializer(model, f"{weight.name}/2d", array[..., None])
        others[0] = kernels[weight]
    site = Site(model, node)
    axis = site.constant("axis", np.asarray([3], np.int64))
    flat = site.op(node.op_type, [site.op("Unsqueeze", [x, axis], "2d"), *others], "flat", **attributes_in_2d(node))
    take_over(y, "Squeeze", [flat, axis])
    return True


def attributes_in_2d(node: ir.Node) -> dict[str, Attribute]:
    """The attributes of such a node with a second axis of size 1."""
    kept: dict[str, Attribute] = {name: attribute.value for name, attribute in node.attributes.items()}
    for name, neutral in _PER_AXIS.items():
        along = get_ints(node, name)
        if along is not None:
            kept[name] = [*along, neutral]
    pads = get_ints(node, "pads")
    if pads is not None:
        kept["pads"] = [pads[0], 0, pads[1], 0]
    return kept

"""A Clip without bounds stands in front of what computes in floats between integers, so that its weights stay floats.

    DQ --> ConvTranspose(W) --> y --> Q    ==>    DQ --> Clip --> ConvTranspose(W) --> y --> Q

ONNX Runtime 1.31 (`WeightBiasQuantization`) would quantize W itself, with one scale for all channels and whatever the
plan says, and where it has no integer kernel restore it at every run. An Identity would not stop it: it is taken out.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import constant, insert_before, nodes, producer
from edgeport.passes.registry import register

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_BETWEEN = ("Add", "Clip", "LeakyRelu", "Relu")
"""What ONNX Runtime makes one operator with the one in front."""


@register("floats_between_integers")
def floats_between_integers(model: ir.Model) -> bool:
    """Writes a Clip in front of every such operator."""
    changed = False
    for node in nodes(model, *_WEIGHTED):
        x, weight = node.inputs[:2]
        if x is None or producer(x, "DequantizeLinear") is None:
            continue
        if _is_stored(weight) and _leads_to_integers(node.outputs[0]):
            name = f"{node.outputs[0].name}/float"
            node.replace_input_with(0, insert_before(node, "Clip", [x], {}, name=name))
            changed = True
    return changed


def _is_stored(weight: ir.Value | None) -> bool:
    """Whether it is constant floats, or integers that ONNX Runtime restores when it loads the file."""
    scaled = producer(weight, "Mul")
    cast = producer(scaled.inputs[0], "Cast") if scaled is not None else None
    return constant(weight if cast is None else cast.inputs[0]) is not None


def _leads_to_integers(value: ir.Value) -> bool:
    """Whether a QuantizeLinear reads it, or reads what such an operator makes of it."""
    for use in value.uses():
        if use.node.op_type == "QuantizeLinear":
            return True
        if use.node.op_type in _BETWEEN and _leads_to_integers(use.node.outputs[0]):
            return True
    return False

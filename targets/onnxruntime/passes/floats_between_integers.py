"""A Clip without bounds stands in front of what computes in floats between integers, so that its weights stay floats.

    DQ --> ConvTranspose(W) --> y --> Q    ==>    DQ --> Clip --> ConvTranspose(W) --> y --> Q

ONNX Runtime 1.31 (`WeightBiasQuantization`) would quantize W itself, with one scale for all channels and whatever the
plan says, and where it has no integer kernel restore it at every run. It does so behind pools and reshapes, too, over
which it moves Q. An Identity would not stop it: it is taken out.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import constant, insert_before, nodes, producer
from edgeport.passes.registry import register

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@register("floats_between_integers")
def floats_between_integers(model: ir.Model) -> bool:
    """Writes a Clip in front of every operator that reads integers and floats that are constant."""
    changed = False
    for node in nodes(model, *_WEIGHTED):
        x, weight = node.inputs[:2]
        if x is not None and producer(x, "DequantizeLinear") is not None and _is_stored(weight):
            name = f"{node.outputs[0].name}/float"
            node.replace_input_with(0, insert_before(node, "Clip", [x], {}, name=name))
            changed = True
    return changed


def _is_stored(weight: ir.Value | None) -> bool:
    """Whether it is constant floats, or integers that ONNX Runtime restores when it loads the file."""
    scaled = producer(weight, "Mul")
    cast = producer(scaled.inputs[0], "Cast") if scaled is not None else None
    return constant(weight if cast is None else cast.inputs[0]) is not None

"""Quantization in the source becomes arithmetic.

    x --> QuantizeLinear(s, z) --> q        x --> Div(s) --> Round --> Add(z) --> Clip --> Cast --> q
    q --> DequantizeLinear(s, z) --> y  ==>  q --> Cast --> Sub(z) --> Mul(s) --> y

and DynamicQuantizeLinear, whose s and z follow from the smallest and largest element. Weights behind a DequantizeLinear
become float constants. Applies to integers of 8 and 16 bits (DequantizeLinear to int32 and to weights of 4 bits as
well), one scale a tensor, a channel or a block of constant size. Quantized arithmetic of the targets is decided later,
from the float graph. ONNX operators QuantizeLinear-24, DequantizeLinear-24 and DynamicQuantizeLinear-11.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_int, input_of, nodes, rank, static_shape, take_over
from edgeport.passes.quantized_terms import INTEGERS, centred, rounded, shaped
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_STORED = (ir.DataType.INT4, ir.DataType.UINT4)
"""Types of weights that become floats at once."""


@register("expand_quantization")
def expand_quantization(model: ir.Model) -> bool:
    """Expands every operator that it applies to."""
    changed = False
    for node in nodes(model, "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
        expand = {"QuantizeLinear": _quantize, "DequantizeLinear": _dequantize}.get(node.op_type, _dynamic)
        changed |= expand(Site(model, node))
    return changed


def _quantize(site: Site) -> bool:
    node = site.node
    x, y, zero_point = node.inputs[0], node.outputs[0], input_of(node, 2)
    dtype = zero_point.dtype if zero_point is not None else ir.DataType(get_int(node, "output_dtype", 0) or 2)
    scale = _broadcast(site, node.inputs[1], "scale")
    zero_point = None if zero_point is None else _broadcast(site, zero_point, "zero_point")
    if x is None or scale is None or dtype not in INTEGERS or (input_of(node, 2) is not None and zero_point is None):
        return False
    if x.dtype != ir.DataType.FLOAT:
        x = site.op("Cast", [x], "real", to=ir.DataType.FLOAT.value)
    clipped = rounded(site, site.op("Div", [x, scale], "scaled"), zero_point, dtype)
    take_over(y, "Cast", [clipped], {"to": dtype.value})
    return True


def _dequantize(site: Site) -> bool:
    node = site.node
    x, zero_point = node.inputs[0], input_of(node, 2)
    scale = _broadcast(site, node.inputs[1], "scale")
    zero_point = None if zero_point is None else _broadcast(site, zero_point, "zero_point")
    if x is None or scale is None or (input_of(node, 2) is not None and zero_point is None):
        return False
    if x.dtype not in INTEGERS and not (x.dtype in _STORED and constant(x) is not None):
        return False
    integers, factor = constant(x), constant(scale)
    real = centred(site, x, zero_point, None, "centred")
    if integers is not None and factor is not None and constant(real) is not None:
        data = np.asarray(constant(real) * factor, np.float32)
        take_over(node.outputs[0], "Identity", [site.constant("dequantized", data)])
    else:
        take_over(node.outputs[0], "Mul", [real, scale])
    return True


def _dynamic(site: Site) -> bool:
    """y_scale = (max - min) / 255 with 0 between min and max; y_zero_point = saturate(round(-min / y_scale))."""
    node, (y, y_scale, y_zero) = site.node, site.node.outputs
    x, uint8 = node.inputs[0], ir.DataType.UINT8
    zero = site.constant("zero", np.float32(0))
    low = site.op("Min", [site.op("ReduceMin", [x], "min", keepdims=0), zero], "low")
    high = site.op("Max", [site.op("ReduceMax", [x], "max", keepdims=0), zero], "high")
    span = site.op("Sub", [high, low], "span")
    flat = site.op("Equal", [span, zero], "flat")  # all zeros: any scale will do, but not 0
    step = site.op("Div", [span, site.constant("steps", np.float32(255))], "step")
    scale = site.op("Where", [flat, site.constant("one", np.float32(1)), step], "scale")
    offset = site.op("Div", [site.op("Sub", [zero, low], "below"), scale], "offset")
    point = rounded(site, offset, None, uint8)
    total = site.op("Add", [site.op("Round", [site.op("Div", [x, scale], "scaled")], "whole"), point], "total")
    limits = [site.constant("least", np.float32(0)), site.constant("most", np.float32(255))]
    clipped = site.op("Clip", [total, *limits], "saturated")
    graph = node.graph
    assert graph is not None
    for old, op_type, value, attributes in (
        (y, "Cast", clipped, {"to": uint8.value}),
        (y_scale, "Identity", scale, {}),
        (y_zero, "Cast", point, {"to": uint8.value}),
    ):
        new = ir.Value(name=old.name, type=old.type, shape=old.shape)
        graph.insert_before(node, ir.node(op_type, [value], attributes, outputs=[new], name=f"{old.name}/{op_type}"))
        old.name = None
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return True


def _broadcast(site: Site, value: ir.Value | None, role: str) -> ir.Value | None:
    """A scale or zero point in a shape that broadcasts against the tensor; None where that is not known."""
    node = site.node
    shape, dims, block = static_shape(value), rank(node.inputs[0]), get_int(node, "block_size", 0)
    if value is None or shape is None:
        return None
    if block:
        array, full = constant(value), static_shape(node.inputs[0])
        if array is None or full is None:
            return None
        axis = get_int(node, "axis", 1) % len(full)
        return site.constant(role, np.take(np.repeat(array, block, axis), range(full[axis]), axis))
    if len(shape) == 0 or shape == (1,):
        return shaped(site, value, (), role)
    if dims is None or len(shape) != 1:
        return None
    axis = get_int(node, "axis", 1) % dims
    return shaped(site, value, [shape[0] if i == axis else 1 for i in range(dims)], role)

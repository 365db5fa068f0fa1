"""Products of quantized numbers become products of floats.

    a, b: uint8 --> QLinearMatMul --> y     ==>     a - z_a, b - z_b --> MatMul --> Mul(s_a s_b / s_y) --> Round --> ...
    a, b: uint8 --> MatMulInteger --> y     ==>     a - z_a, b - z_b --> MatMul --> Cast(int32) --> y

and QLinearConv and ConvInteger alike. Applies to operands of 8 bits. float32 sums are exact up to 2^24: where those of
MatMulInteger and ConvInteger can become larger, the products are summed in parts, which are added in int32.
ONNX operators QLinearMatMul-21, QLinearConv-10, MatMulInteger-10 and ConvInteger-10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, constant, get_int, input_of, nodes, rank, static_shape, take_over
from edgeport.passes.quantized_terms import EIGHT_BITS, centred, rounded, shaped
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_EXACT = 2.0**24


@register("expand_integer_products")
def expand_integer_products(model: ir.Model) -> bool:
    """Expands every product that it applies to."""
    changed = False
    for node in nodes(model, "QLinearMatMul", "QLinearConv"):
        changed |= _scaled(Site(model, node))
    for node in nodes(model, "MatMulInteger", "ConvInteger"):
        changed |= _plain(Site(model, node))
    return changed


def _scaled(site: Site) -> bool:
    node = site.node
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = node.inputs[:8]
    conv = node.op_type == "QLinearConv"
    dims_a, dims_b = rank(a), rank(b)
    dtype = None if y_zero is None else y_zero.dtype
    known = all(v is not None and v.dtype in EIGHT_BITS for v in (a, b)) and dtype in EIGHT_BITS
    scales = (a_scale, b_scale, y_scale, y_zero)
    if not known or dims_a is None or dims_b is None or any(static_shape(v) is None for v in scales):
        return False
    assert a is not None
    assert b is not None
    assert dtype is not None
    left = centred(site, a, a_zero, _row_shape(a_zero, conv), "a")
    right = centred(site, b, b_zero, _column_shape(b_zero, dims_b, conv, of_weights=True), "b")
    if conv:
        bias = input_of(node, 8)
        terms = [left, right] if bias is None else [left, right, centred(site, bias, None, None, "bias")]
        total = site.op("Conv", terms, "sum", **_attributes(node))
    else:
        total = site.op("MatMul", [left, right], "sum")
    factor = site.op(
        "Mul",
        [
            _parameter(site, a_scale, _row_shape(a_scale, conv), "a_scale"),
            _parameter(site, b_scale, _column_shape(b_scale, dims_b, conv, of_weights=False), "b_scale"),
        ],
        "scales",
    )
    gain = site.op("Div", [factor, _parameter(site, y_scale, _row_shape(y_scale, conv), "y_scale")], "gain")
    point = _parameter(site, y_zero, _row_shape(y_zero, conv), "y_zero")
    clipped = rounded(site, site.op("Mul", [total, gain], "scaled"), point, dtype)
    take_over(node.outputs[0], "Cast", [clipped], {"to": dtype.value})
    return True


def _parameter(site: Site, value: ir.Value | None, shape: tuple[int, ...] | None, role: str) -> ir.Value:
    assert value is not None
    return shaped(site, value, shape, role)


def _row_shape(value: ir.Value | None, conv: bool) -> tuple[int, ...] | None:
    """A parameter of the left operand or the result: one, or one a row."""
    shape = static_shape(value) or ()
    if math.prod(shape) == 1:
        return ()
    return (*shape, 1) if len(shape) == 1 and not conv else None


def _column_shape(value: ir.Value | None, dims: int, conv: bool, of_weights: bool) -> tuple[int, ...] | None:
    """A parameter of the right operand: one, or one a column (of Conv: an output channel)."""
    shape = static_shape(value) or ()
    if math.prod(shape) == 1:
        return ()
    if not conv:
        return None
    return (shape[0], *(1,) * (dims - 1)) if of_weights else (1, shape[0], *(1,) * (dims - 2))


def _plain(site: Site) -> bool:
    node = site.node
    a, b, a_zero, b_zero = node.inputs[0], node.inputs[1], input_of(node, 2), input_of(node, 3)
    if a is None or b is None or a.dtype not in EIGHT_BITS or b.dtype not in EIGHT_BITS:
        return False
    conv, shape = node.op_type == "ConvInteger", static_shape(b)
    if shape is None or (a_zero is not None and static_shape(a_zero) is None):
        return False
    left = centred(site, a, a_zero, _row_shape(a_zero, conv), "a")
    right = centred(site, b, b_zero, _column_shape(b_zero, len(shape), conv, of_weights=True), "b")
    axis = 1 if conv else max(len(shape) - 2, 0)
    terms, taps = shape[axis], math.prod(shape[2:]) if conv else 1
    weights = constant(right)
    largest = 255.0 if weights is None else float(np.abs(weights).max(initial=0.0))
    size = int(_EXACT // max(255.0 * largest * taps, 1.0))
    if size < 1 or (terms > size and get_int(node, "group", 1) != 1):
        return False
    op_type, attributes = ("Conv", _attributes(node)) if conv else ("MatMul", {})
    parts = [
        _part(site, left, right, (start, min(start + size, terms)), (1 if conv else -1, axis), op_type, attributes)
        for start in range(0, terms, size)
    ]
    if len(parts) == 1:
        take_over(node.outputs[0], "Cast", parts, {"to": ir.DataType.INT32.value})
        return True
    integers = [site.op("Cast", [p], f"part{i}/int32", to=ir.DataType.INT32.value) for i, p in enumerate(parts)]
    total = integers[0]
    for number, part in enumerate(integers[1:-1]):
        total = site.op("Add", [total, part], f"total{number}")
    take_over(node.outputs[0], "Add", [total, integers[-1]])
    return True


def _part(
    site: Site,
    left: ir.Value,
    right: ir.Value,
    span: tuple[int, int],
    axes: tuple[int, int],
    op_type: str,
    attributes: Mapping[str, Attribute],
) -> ir.Value:
    """The product over some of the terms."""
    start, end = span
    role = f"part{start}"
    terms = static_shape(right)
    if terms is None or (start, end) != (0, terms[axes[1]]):
        limits = [np.asarray([bound], np.int64) for bound in span]
        for index, axis in enumerate(axes):
            bounds = [site.constant(f"{role}/bound", limit) for limit in (*limits, np.asarray([axis], np.int64))]
            sliced = site.op("Slice", [(left, right)[index], *bounds], f"{role}/{'ab'[index]}")
            left, right = (sliced, right) if index == 0 else (left, sliced)
    return site.op(op_type, [left, right], role, **attributes)


def _attributes(node: ir.Node) -> dict[str, Attribute]:
    """The attributes of Conv, which the quantized forms share."""
    return {name: attribute.value for name, attribute in node.attributes.items()}

"""Bitwise operators and shifts of up to 32 bits are written with divisions by powers of two.

    a, b --> Unsqueeze --> Div(1, 2, 4, ..) --> less twice its half --> Mul --> Mul(1, 2, 4, ..) --> ReduceSum --> and
                                                                        Max                                       or
                                                                        Sub --> Abs                               xor
    a --> Sub(-1, a) --> not              a --> Mul(Gather(1, 2, 4, ..; by)) --> left        a --> Div(..) --> right

Computes in int32, where a division of what is not negative drops bits. The sign is compared by itself: what is left of
a negative number without it is the number plus 2^31. Left alone: 64 bits, and uint32. ONNX operators BitwiseAnd-18,
BitShift-11.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, get_str, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_KINDS = {
    ir.DataType.INT8: 31,
    ir.DataType.UINT8: 8,
    ir.DataType.INT16: 31,
    ir.DataType.UINT16: 16,
    ir.DataType.INT32: 31,
}
"""Element type -> bits to look at in int32, but for the sign."""
_WIDE = int(ir.DataType.INT32)
_SIGN = np.int32(-(2**31))


@register("expand_bitwise")
def expand_bitwise(model: ir.Model) -> bool:
    """Expands every such operator."""
    changed = False
    for node in nodes(model, "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift"):
        x = node.inputs[0]
        if x is None or x.dtype not in _KINDS:
            continue
        site = Site(model, node)
        operands = [site.op("Cast", [value], f"wide{i}", to=_WIDE) for i, value in enumerate(node.inputs)]
        if node.op_type == "BitwiseNot":
            result = site.op("Sub", [site.constant("all_ones", np.int32(-1)), operands[0]], "flipped")
        elif node.op_type == "BitShift":
            powers = site.constant("powers", _powers(31))
            factor = site.op("Gather", [powers, operands[1]], "factor", axis=0)
            operator = "Mul" if get_str(node, "direction", "") == "LEFT" else "Div"
            result = site.op(operator, [operands[0], factor], "shifted")
        else:
            result = _combined(site, operands, _KINDS[x.dtype], signed=x.dtype.is_signed())
        take_over(node.outputs[0], "Cast", [result], {"to": int(x.dtype)})
        changed = True
    return changed


def _powers(count: int) -> Array:
    return np.asarray([1 << i for i in range(count)], np.int32)


def _combined(site: Site, operands: list[ir.Value], bits: int, signed: bool) -> ir.Value:
    kind = site.node.op_type
    last = site.constant("last", np.asarray([-1], np.int64))
    powers, two = site.constant("powers", _powers(bits)), site.constant("two", np.int32(2))
    zero, sign = site.constant("zero", np.int32(0)), site.constant("sign", _SIGN)
    negative, rows = [], []
    for i, value in enumerate(operands):
        if signed:
            below = site.op("Less", [value, zero], f"negative{i}")
            value = site.op("Where", [below, site.op("Sub", [value, sign], f"rest{i}"), value], f"magnitude{i}")
            negative.append(below)
        column = site.op("Unsqueeze", [value, last], f"column{i}")
        shifted = site.op("Div", [column, powers], f"shifted{i}")
        even = site.op("Mul", [site.op("Div", [shifted, two], f"half{i}"), two], f"even{i}")
        rows.append(site.op("Sub", [shifted, even], f"bits{i}"))
    if kind == "BitwiseXor":
        bit = site.op("Abs", [site.op("Sub", rows, "difference")], "bits")
    else:
        bit = site.op("Mul" if kind == "BitwiseAnd" else "Max", rows, "bits")
    total = site.op("ReduceSum", [site.op("Mul", [bit, powers], "terms"), last], "number", keepdims=0)
    if not signed:
        return total
    if kind == "BitwiseXor":
        both = site.op("Not", [site.op("And", negative, "both_negative")], "not_both_negative")
        below = site.op("And", [site.op("Or", negative, "either_negative"), both], "negative")
    else:
        below = site.op("And" if kind == "BitwiseAnd" else "Or", negative, "negative")
    return site.op("Where", [below, site.op("Add", [total, sign], "with_sign"), total], "signed")

"""CumSum and Pow of integers, for runtimes that have them of floats only.

    x [.., n] --> Unsqueeze --> Mul(triangle [n, n]) --> ReduceSum --> y    instead of CumSum
    x --> Mul(x) --> .. --> y                                               instead of Pow by a whole constant

Integers stay exact, which a detour over float32 would not be. Needs the length of the axis, of at most 2048 elements,
and an exponent of at most 16. ONNX operators CumSum-14, Pow-15.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, nodes, rank, scalar, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_LONGEST = 2048
_HIGHEST = 16


@register("expand_integer_cum_sum")
def expand_integer_cum_sum(model: ir.Model) -> bool:
    """Expands every CumSum of integers along a constant axis of known length."""
    changed = False
    for node in nodes(model, "CumSum"):
        x, axis, dims = node.inputs[0], scalar(node.inputs[1]), rank(node.inputs[0])
        if x is None or x.shape is None or axis is None or not dims or x.dtype is None or not x.dtype.is_integer():
            continue
        along = int(axis) % dims
        length = x.shape[along]
        if not isinstance(length, int) or length > _LONGEST:
            continue
        keep = np.tri(length, k=-get_int(node, "exclusive", 0), dtype=x.dtype.numpy())
        if get_int(node, "reverse", 0):
            keep = keep.T
        site = Site(model, node)
        # [.., 1, n, ..] times [n, n], summed over the second of the two
        column = site.op("Unsqueeze", [x, site.constant("axis", np.asarray([along], np.int64))], "row")
        triangle = site.constant("triangle", keep.reshape((length, length) + (1,) * (dims - along - 1)))
        terms = site.op("Mul", [column, triangle], "terms")
        axes = site.constant("summed", np.asarray([along + 1], np.int64))
        take_over(node.outputs[0], "ReduceSum", [terms, axes], {"keepdims": 0})
        changed = True
    return changed


@register("expand_integer_pow")
def expand_integer_pow(model: ir.Model) -> bool:
    """Expands every Pow of integers with a constant exponent from 1 on."""
    changed = False
    for node in nodes(model, "Pow"):
        x, exponent = node.inputs[0], scalar(node.inputs[1])
        if x is None or x.dtype is None or not x.dtype.is_integer() or exponent is None:
            continue
        if exponent != int(exponent) or not 2 <= exponent <= _HIGHEST or rank(node.inputs[1]) != 0:
            continue
        site, product = Site(model, node), x
        for power in range(2, int(exponent)):
            product = site.op("Mul", [product, x], f"power{power}")
        take_over(node.outputs[0], "Mul", [product, x])
        changed = True
    return changed

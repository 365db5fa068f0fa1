"""Operators that place ones, or keep a triangle, as comparisons with positions that are constants.

    expand_hardmax   x --> ArgMax --> Equal(0, 1, 2, ..) --> Cast --> y
    expand_one_hot   indices --> Where(< 0, + depth) --> Unsqueeze --> Equal(0, 1, 2, ..) --> Where(on, off) --> y
    expand_trilu     x --> Where(row and column on the kept side, x, 0) --> y

Need the length of the axis, the depth, and the last two dimensions. ONNX operators Hardmax-13, OneHot-11, Trilu-14.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_int, input_of, nodes, rank, scalar, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, number


@register("expand_hardmax")
def expand_hardmax(model: ir.Model) -> bool:
    """Expands every Hardmax over an axis of known length."""
    changed = False
    for node in nodes(model, "Hardmax"):
        site, x, dims = Site(model, node), node.inputs[0], rank(node.inputs[0])
        if x is None or x.shape is None or not dims or x.dtype is None:
            continue
        axis = get_int(node, "axis", -1) % dims
        length = x.shape[axis]
        if not isinstance(length, int):
            continue
        places = np.arange(length, dtype=np.int64).reshape([-1 if a == axis else 1 for a in range(dims)])
        first = site.op("ArgMax", [x], "largest", axis=axis, keepdims=1)
        found = site.op("Equal", [first, site.constant("places", places)], "found")
        take_over(node.outputs[0], "Cast", [found], {"to": int(x.dtype)})
        changed = True
    return changed


@register("expand_one_hot")
def expand_one_hot(model: ir.Model) -> bool:
    """Expands every OneHot of constant depth and known rank."""
    changed = False
    for node in nodes(model, "OneHot"):
        site, indices, depth, values = Site(model, node), node.inputs[0], scalar(node.inputs[1]), node.inputs[2]
        dims = rank(indices)
        if indices is None or indices.dtype is None or depth is None or dims is None or values is None:
            continue
        kind = indices.dtype
        if not kind.is_integer():
            kind = ir.DataType.INT64
            indices = site.op("Cast", [indices], "integers", to=int(kind))
            indices.type = ir.TensorType(kind)
        axis, size = get_int(node, "axis", -1) % (dims + 1), int(depth)
        total = site.op("Add", [indices, number(site, size, indices, "depth")], "from_end")
        below = site.op("Less", [indices, number(site, 0, indices, "zero")], "negative")
        column = site.op("Where", [below, total, indices], "positions")
        column = site.op("Unsqueeze", [column, site.constant("axis", np.asarray([axis], np.int64))], "column")
        shape = [-1 if a == axis else 1 for a in range(dims + 1)]
        places = site.constant("places", np.arange(size, dtype=kind.numpy()).reshape(shape))
        hot = site.op("Equal", [column, places], "hot")
        off, on = _two(site, values)
        take_over(node.outputs[0], "Where", [hot, on, off])
        changed = True
    return changed


def _two(site: Site, values: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The off and the on value, scalars."""
    array = constant(values)
    if array is not None:
        return site.constant("off", array[0]), site.constant("on", array[1])
    positions = [site.constant(f"place{i}", np.asarray(i, np.int64)) for i in range(2)]
    off, on = (site.op("Gather", [values, place], f"value{i}", axis=0) for i, place in enumerate(positions))
    return off, on


@register("expand_trilu")
def expand_trilu(model: ir.Model) -> bool:
    """Expands every Trilu whose last two dimensions are known."""
    changed = False
    for node in nodes(model, "Trilu"):
        site, x = Site(model, node), node.inputs[0]
        dims = () if x is None or x.shape is None else tuple(x.shape)[-2:]
        if x is None or len(dims) != 2 or not all(isinstance(d, int) for d in dims):
            continue
        rows, columns = (int(d) for d in dims if isinstance(d, int))
        distance = np.arange(columns) - np.arange(rows)[:, None]
        upper, given = bool(get_int(node, "upper", 1)), input_of(node, 1)
        k = 0.0 if given is None else scalar(given)
        if k is not None:
            kept = site.constant("kept", distance >= k if upper else distance <= k)
        else:
            operator = "GreaterOrEqual" if upper else "LessOrEqual"
            kept = site.op(operator, [site.constant("distance", distance.astype(np.int64)), given], "kept")
        if x.dtype == ir.DataType.BOOL:
            take_over(node.outputs[0], "And", [kept, x])
        else:
            take_over(node.outputs[0], "Where", [kept, x, number(site, 0, x, "zero")])
        changed = True
    return changed

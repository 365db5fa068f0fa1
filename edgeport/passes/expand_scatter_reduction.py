"""Scatters that combine their updates compare every place with every index, for parsers that only replace.

    indices --> one number each [M] --> Equal(0, 1, .. [D,1]) --> which update goes where [D,M] --+
    updates [M,S] ------------------------------------------> add: MatMul; else Where, Reduce --> with the data --> y

D places of S elements; ScatterElements has single elements. Applies to known shapes, up to 2^22 pairs times elements:
more would cost more than the model around it. ONNX operators ScatterElements-18 and ScatterND-18.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_str, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, number

_MOST = 2**22
_COMBINE = {
    "add": ("ReduceSum", "Add"),
    "mul": ("ReduceProd", "Mul"),
    "max": ("ReduceMax", "Max"),
    "min": ("ReduceMin", "Min"),
}


@register("expand_scatter_reduction")
def expand_scatter_reduction(model: ir.Model) -> bool:
    """Expands every scatter with a reduction that is not too large."""
    changed = False
    for node in nodes(model, "ScatterElements", "ScatterND"):
        data, shape, indices = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.inputs[1])
        reduction = get_str(node, "reduction", "none")
        if data is None or data.dtype is None or shape is None or indices is None or reduction not in _COMBINE:
            continue
        axes = indices[-1] if node.op_type == "ScatterND" else len(shape)
        places, each = math.prod(shape[:axes]), math.prod(shape[axes:])
        updates = math.prod(indices[:-1] if node.op_type == "ScatterND" else indices)
        if 0 < places * updates * each <= _MOST and data.dtype != ir.DataType.BOOL:
            _expand(Site(model, node), shape, indices, (places, updates, each), reduction)
            changed = True
    return changed


def _expand(
    site: Site, shape: tuple[int, ...], indices: tuple[int, ...], sizes: tuple[int, int, int], reduction: str
) -> None:
    node, (places, updates, each) = site.node, sizes
    data, given = node.inputs[0], node.inputs[2]
    assert data is not None
    assert data.dtype is not None
    assert given is not None
    parts = _parts(site, shape, indices)
    line: ir.Value | None = None
    for axis, part in enumerate(parts):
        stride = site.constant(f"stride{axis}", np.asarray(math.prod(shape[axis + 1 : len(parts)]), np.int64))
        step = site.op("Mul", [part, stride], f"step{axis}")
        line = step if line is None else site.op("Add", [line, step], f"line{axis}")
    assert line is not None
    numbers = site.constant("places", np.arange(places, dtype=np.int64)[:, None])
    hit = site.op("Equal", [site.reshape(line, (1, updates), "row"), numbers], "hit")
    flat = site.reshape(given, (updates, each), "updates")
    reduce, combine = _COMBINE[reduction]
    if reduction == "add" and data.dtype.is_floating_point():
        weights = site.op("Cast", [hit], "weights", to=int(data.dtype))
        change = site.op("MatMul", [weights, flat], "change")
    else:
        column = site.op("Unsqueeze", [hit, site.constant("last", np.asarray([-1], np.int64))], "column")
        neutral = number(site, _neutral(reduction, data.dtype), data, "neutral")
        terms = site.op("Where", [column, site.reshape(flat, (1, updates, each), "terms/all"), neutral], "terms")
        axes = site.constant("summed", np.asarray([1], np.int64))
        change = site.op(reduce, [terms, axes], "change", keepdims=0)
    take_over(node.outputs[0], combine, [data, site.reshape(change, shape, "changes")])


def _parts(site: Site, shape: tuple[int, ...], indices: tuple[int, ...]) -> list[ir.Value]:
    """Which element along each axis that is indexed, int64 [M], counted from the front."""
    node, given = site.node, site.node.inputs[1]
    assert given is not None
    wide = site.op("Cast", [given], "indices", to=int(ir.DataType.INT64))
    if node.op_type == "ScatterND":
        columns = site.reshape(wide, (-1, indices[-1]), "columns")
        pick = [site.constant(f"axis{a}", np.asarray(a, np.int64)) for a in range(indices[-1])]
        found = [site.op("Gather", [columns, axis], f"index{a}", axis=1) for a, axis in enumerate(pick)]
        return [_from_front(site, value, shape[a], f"index{a}") for a, value in enumerate(found)]
    axis = get_int(node, "axis", 0) % len(shape)
    grid = np.indices(indices).reshape(len(indices), -1)
    own = _from_front(site, site.reshape(wide, (-1,), f"index{axis}"), shape[axis], f"index{axis}")
    return [own if a == axis else site.constant(f"index{a}", grid[a].astype(np.int64)) for a in range(len(shape))]


def _from_front(site: Site, value: ir.Value, size: int, role: str) -> ir.Value:
    total = site.op("Add", [value, site.constant(f"{role}/size", np.asarray(size, np.int64))], f"{role}/from_end")
    below = site.op("Less", [value, site.constant(f"{role}/zero", np.asarray(0, np.int64))], f"{role}/negative")
    return site.op("Where", [below, total, value], f"{role}/position")


def _neutral(reduction: str, kind: ir.DataType) -> float:
    """What changes nothing; of integers the ends of int32, which the parsers narrow them to."""
    if reduction in ("add", "mul"):
        return 0.0 if reduction == "add" else 1.0
    end = math.inf if kind.is_floating_point() else 2**31 - 1
    return end if reduction == "min" else -end

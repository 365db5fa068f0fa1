"""CumProd becomes products of the data with itself, moved by 1, 2, 4, ... elements.

    x --+----------------> Mul --+------------------> Mul --> ...
        `--> moved by 1 --^      `--> moved by 2 ----^

Moving fills with ones (Hillis and Steele 1986, "Data parallel algorithms", figure 2): log2(n) steps for n elements.
Applies to a constant axis of known size, in both directions; an exclusive product is one moved by one element first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, ints, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@dataclass(frozen=True)
class _Axis:
    """Along what elements move: shape of the data, position of the axis, direction."""

    shape: tuple[int, ...]
    position: int
    reverse: bool


@register("expand_cum_prod")
def expand_cum_prod(model: ir.Model) -> bool:
    """Rewrites every CumProd along a known axis."""
    changed = False
    for node in nodes(model, "CumProd"):
        x, axis = node.inputs[0], ints(node.inputs[1])
        shape = static_shape(x)
        if x is None or x.dtype is None or axis is None or len(axis) != 1 or not shape or 0 in shape:
            continue
        along = _Axis(shape, axis[0] % len(shape), bool(get_int(node, "reverse", 0)))
        site, distance, total = Site(model, node), 1, x
        if get_int(node, "exclusive", 0):
            total = _moved(site, total, along, 1, x.dtype, "exclusive")
        while distance < shape[along.position]:
            moved = _moved(site, total, along, distance, x.dtype, f"moved{distance}")
            total = site.op("Mul", [total, moved], f"product{distance}")
            distance *= 2
        take_over(node.outputs[0], "Identity", [total])
        changed = True
    return changed


def _moved(site: Site, x: ir.Value, along: _Axis, distance: int, dtype: ir.DataType, role: str) -> ir.Value:
    """The data moved by some elements, ones in their place."""
    size = along.shape[along.position]
    filling = [distance if i == along.position else d for i, d in enumerate(along.shape)]
    ones = site.constant(f"{role}/ones", np.ones(filling, dtype.numpy()))
    if distance == size:
        return ones
    begin, end = (distance, size) if along.reverse else (0, size - distance)
    limits = [site.constant(f"{role}/{k}", np.asarray([v], np.int64)) for k, v in (("start", begin), ("end", end))]
    axes = site.constant(f"{role}/axis", np.asarray([along.position], np.int64))
    kept = site.op("Slice", [x, *limits, axes], f"{role}/kept")
    parts = [kept, ones] if along.reverse else [ones, kept]
    return site.op("Concat", parts, role, axis=along.position)

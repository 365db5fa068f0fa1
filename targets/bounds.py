"""Between which numbers integers lie, as far as the graph says so: indices and what is computed from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.lowering import Refused

Bounds: TypeAlias = tuple[int, int]
"""Smallest and largest number that can occur."""
_MOVES = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Flatten", "Slice", "Gather", "Expand", "Tile")
_WIDTHS = {ir.DataType.INT8: "int8", ir.DataType.UINT8: "uint8", ir.DataType.INT32: "int32"}
_DEEPEST = 40


def bounds(value: ir.Value | None, depth: int = 0) -> Bounds | None:
    """The interval of an integer or boolean value, None where nothing is known."""
    if value is None or depth > _DEEPEST:
        return None
    if value.const_value is not None:
        data = value.const_value.numpy()
        return (int(data.min()), int(data.max())) if data.size and data.dtype.kind in "iub" else None
    if value.dtype == ir.DataType.BOOL:
        return 0, 1
    known = _computed(value, depth + 1)
    width = _WIDTHS.get(value.dtype) if value.dtype is not None else None
    if width is None:
        return known
    limits = np.iinfo(width)
    return known if known and limits.min <= known[0] and known[1] <= limits.max else (int(limits.min), int(limits.max))


def _computed(value: ir.Value, depth: int) -> Bounds | None:
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type in ("ArgMax", "ArgMin") or (node.op_type == "TopK" and value is node.outputs[1]):
        return _below_size(node)
    if node.op_type == "Cast":
        source = node.inputs[0]
        kept = source is not None and source.dtype is not None and not source.dtype.is_floating_point()
        return bounds(source, depth) if kept else None
    if node.op_type in _MOVES:
        return bounds(node.inputs[0], depth)
    if node.op_type in ("Concat", "Where"):
        parts = [bounds(v, depth) for v in node.inputs[node.op_type == "Where" :]]
        known = [p for p in parts if p is not None]
        return (min(p[0] for p in known), max(p[1] for p in known)) if len(known) == len(parts) else None
    if node.op_type in ("Add", "Sub", "Mul", "Div", "Mod"):
        a, b = (bounds(v, depth) for v in node.inputs[:2])
        return None if a is None or b is None else _combined(node, a, b)
    return None


def _below_size(node: ir.Node) -> Bounds | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    size = x.shape[get_int(node, "axis", -1 if node.op_type == "TopK" else 0)]
    return (0, size - 1) if isinstance(size, int) else None


def _combined(node: ir.Node, a: Bounds, b: Bounds) -> Bounds | None:
    """Interval arithmetic; the result must fit the dtype, or it wraps around."""
    if node.op_type == "Add":
        result = a[0] + b[0], a[1] + b[1]
    elif node.op_type == "Sub":
        result = a[0] - b[1], a[1] - b[0]
    elif node.op_type == "Mul":
        corners = [x * y for x in a for y in b]
        result = min(corners), max(corners)
    elif b[0] < 1:
        return None
    elif node.op_type == "Mod" and not get_int(node, "fmod", 0):
        result = 0, b[1] - 1
    else:  # towards zero: no further from it than the dividend
        result = min(a[0], 0), max(a[1], 0)
    return result if max(map(abs, result)) < 2**62 else None


def fits_int32(value: ir.Value | None) -> bool:
    """Whether every number surely fits in 32 bits, and so does its negative."""
    interval = bounds(value)
    return interval is not None and max(map(abs, interval)) < 2**31


def never_negative(value: ir.Value) -> bool:
    """Whether no number is below 0."""
    return (bounds(value) or (-math.inf, 0))[0] >= 0


def constant_positions(data: Array, sizes: int | Sequence[int]) -> Array:
    """Constant indices counted from the start, int64.

    Args:
        data: the indices; with several sizes its last axis runs over them.
        sizes: sizes of the indexed axes.

    Raises:
        Refused: an index lies outside of [-size, size).
    """
    limit = np.asarray(sizes, np.int64)
    data = data.astype(np.int64)
    if np.any(data < -limit) or np.any(data >= limit):
        raise Refused(f"an index is outside of [-size, size) for size {limit.tolist()}", "correct it in the model")
    return np.where(data < 0, data + limit, data)

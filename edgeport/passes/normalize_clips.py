"""Bounds have one form: Relu for [0, inf), Clip with constant limits for the others.

    x --> Relu --> Clip(-1, 6) --> y         ==>     x --> Clip(0, 6) --> y
    x --> Max(0) --> Min(6) --> y            ==>     x --> Clip(0, 6) --> y
    x --> Clip(0) --> y                      ==>     x --> Relu --> y
    x --> Clip() --> y                       ==>     (nothing)

Applies to floating point: to Min and Max of one value and one constant with a single element, and to chains of Relu
and Clip with constant limits whose intermediate values have one consumer.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.edit import add_initializer, bypass, constant, nodes, producer, rank, scalar, take_over, used_once
from edgeport.passes.registry import register


@register("normalize_clips")
def normalize_clips(model: ir.Model) -> bool:
    """Rewrites every bound that is not in its one form yet."""
    changed = False
    for node in nodes(model, "Min", "Max", "Clip", "Relu"):
        y = node.outputs[0]
        bounds = _bounds(node)
        if bounds is None:
            continue
        x, low, high = bounds
        inner = producer(x, "Clip", "Relu")
        merged = False
        if inner is not None and used_once(x):
            below = _bounds(inner)
            if below is not None:
                x, (low, high), merged = below[0], _compose(below[1:], (low, high)), True
        if merged or not _is_normal(node, low, high):
            _write(model, y, x, low, high)
            changed = True
    return changed


def _bounds(node: ir.Node) -> tuple[ir.Value, float, float] | None:
    """(x, low, high) of a bound with constant limits, low <= high."""
    x = node.inputs[0]
    if x is None or x.dtype is None or not x.dtype.is_floating_point():
        return None
    if node.op_type == "Relu":
        return x, 0.0, math.inf
    if node.op_type == "Clip":
        low, high = clip_limits(node)
        return None if low is None or high is None or not low <= high else (x, low, high)
    if len(node.inputs) != 2:
        return None
    for value, limit in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        number, array = scalar(limit), constant(limit)
        if value is None or number is None or array is None or array.ndim > (rank(value) or 0) or math.isnan(number):
            continue
        return (value, number, math.inf) if node.op_type == "Max" else (value, -math.inf, number)
    return None


def _compose(inner: tuple[float, float], outer: tuple[float, float]) -> tuple[float, float]:
    low, high = (min(max(limit, outer[0]), outer[1]) for limit in inner)
    return low, high


def _is_normal(node: ir.Node, low: float, high: float) -> bool:
    if node.op_type == "Relu":
        return True
    return node.op_type == "Clip" and (low, high) not in ((0.0, math.inf), (-math.inf, math.inf))


def _write(model: ir.Model, y: ir.Value, x: ir.Value, low: float, high: float) -> None:
    assert x.dtype is not None
    if (low, high) == (-math.inf, math.inf):
        bypass(y, x)
    elif (low, high) == (0.0, math.inf):
        take_over(y, "Relu", [x])
    else:
        dtype = x.dtype.numpy()
        limits = [
            None if math.isinf(limit) else add_initializer(model, f"{y.name}/{role}", np.asarray(limit, dtype))
            for role, limit in (("min", low), ("max", high))
        ]
        take_over(y, "Clip", [x, *limits] if limits[1] is not None else [x, limits[0]])

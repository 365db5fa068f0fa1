"""Vectors divided by their norm, in programs that compute in float16.

    x --> ReduceL2 --> Clip(1e-12) --> Div(x, .)    ==>    x --> LpNormalization

float16 has no 1e-12, so the division would have to run in float32, outside of the Neural Engine. It needs no such
guard either: a vector of float16 numbers is 0, which LpNormalization leaves alone, or its norm is at least float16's
least number. In float32 programs vectors below the guard are another matter, and nothing changes.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.edit import get_int, ints, nodes, producer, scalar, take_over
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.targets.halves import LEAST_HALF

_NORMS = {"ReduceL1": 1, "ReduceL2": 2}


def with_unit_vectors(model: ir.Model, plan: Plan) -> ir.Model:
    """A copy of the graph with such divisions as one node, or the graph itself if it has none.

    Args:
        model: the canonical graph.
        plan: divisions that it wants in float32 stay.
    """
    if not any(_attributes(node, plan) for node in nodes(model, "Div")):
        return model
    result = rewritten(model, ())
    for node in nodes(result, "Div"):
        if attributes := _attributes(node, plan):
            take_over(node.outputs[0], "LpNormalization", [node.inputs[0]], attributes)
    return result


def _attributes(node: ir.Node, plan: Plan) -> dict[str, int] | None:
    """Attributes of the LpNormalization that a Div is; None if it is none."""
    x, divisor = node.inputs
    guard = producer(divisor, "Clip", "Max")
    if guard is None or plan.precision_of(node.name) == "fp32":
        return None
    low, bounded = _bound(guard)
    norm = producer(bounded, *_NORMS)
    if norm is None or norm.inputs[0] is not x or low is None or not 0 < low < LEAST_HALF:
        return None
    axes = ints(norm.inputs[1]) if len(norm.inputs) > 1 else None
    if axes is None or len(axes) != 1 or not get_int(norm, "keepdims", 1):
        return None
    return {"axis": axes[0], "p": _NORMS[norm.op_type]}


def _bound(guard: ir.Node) -> tuple[float | None, ir.Value | None]:
    """The lower bound of a node that has no other, and what it bounds."""
    if guard.op_type == "Clip":
        low, high = clip_limits(guard)
        return (low if high == math.inf else None), guard.inputs[0]
    if len(guard.inputs) != 2:
        return None, None
    a, b = guard.inputs
    return (scalar(b), a) if scalar(b) is not None else (scalar(a), b)

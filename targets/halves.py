"""What float16 cannot hold, so that a node with it computes in float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.recurrence import STEP
from edgeport.quantize.plan import Plan
from edgeport.quantize.spectra import spectral_nodes
from edgeport.sample import Array
from edgeport.targets.angles import angle_nodes
from edgeport.targets.coordinates import coordinate_nodes

MOST_HALF, LEAST_HALF = 65504.0, 2.0**-24
"""The largest float16, and the smallest above 0."""


_ROOTS, _QUOTIENTS = ("Sqrt", "Pow"), ("Log", "Div", "Reciprocal")
"""What follows a guard against zero that float16 does not hold: with the guard rounded away it divides by zero."""


def wide_nodes(graph: ir.Graph, plan: Plan) -> frozenset[ir.Node]:
    """The nodes that compute in float32 although the program computes in float16.

    These are nodes that need it by themselves, what takes roots, logarithms or quotients of their results, spectra
    (squares of quiet parts are below what float16 has, and logarithms behind them show it), angles of positions,
    coordinates in images, and steps of recurrences written out: what one rounds, hundreds of others carry on.
    """
    found = {*spectral_nodes(graph), *angle_nodes(graph), *coordinate_nodes(graph)}
    found |= {node for node in graph if STEP in node.metadata_props}
    pending = [node for node in graph if needs_float32(plan, node)]
    while pending:
        node = pending.pop()
        found.add(node)
        readers = {use.node for out in node.outputs for use in out.uses()} - found
        pending += [reader for reader in readers if reader.op_type in _ROOTS]
        found |= {reader for reader in readers if reader.op_type in _QUOTIENTS}
    return frozenset(found)


def needs_float32(plan: Plan, node: ir.Node) -> bool:
    """Whether float16 cannot hold a constant or a scale of a node, or float32 was asked for.

    It cannot where a number is finite and beyond its largest, or where all are so small that they become 0 and are not
    a bias.
    """
    if plan.precision_of(node.name) == "fp32":
        return True
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    arrays = [
        v.const_value.numpy()
        for v in values
        if v.const_value is not None and not _is_idle(node, v) and not _is_nothing(node, v)
    ]
    arrays += [quant.scale for v in values if (quant := plan.qparams(v.name)) is not None]
    return any(_beyond_half(array) for array in arrays)


def _beyond_half(data: Array) -> bool:
    if data.dtype != np.float32 or not data.size:
        return False
    size = np.abs(data[np.isfinite(data)])
    return bool(size.size) and bool(size.max() > MOST_HALF or (0 < size.max() < LEAST_HALF))


def _is_idle(node: ir.Node, value: ir.Value) -> bool:
    """Whether a value is a limit of a Clip that no number in float16 reaches."""
    if node.op_type != "Clip" or value not in node.inputs[1:]:
        return False
    low, high = clip_limits(node)
    return (low or 0) < -MOST_HALF if value is node.inputs[1] else (high or 0) > MOST_HALF


def _is_nothing(node: ir.Node, value: ir.Value) -> bool:
    """Whether a value is a bias that becomes 0: of a layer, or various numbers of an Add (a guard is one number)."""
    if value.const_value is None:
        return False
    data = value.const_value.numpy()
    varied = node.op_type == "Add" and data.size > 1 and bool((data != data.flat[0]).any())
    addend = node.op_type in ("Conv", "ConvTranspose", "Gemm") and value in node.inputs[2:]
    return (varied or addend) and bool(np.abs(data).max(initial=0) < LEAST_HALF)

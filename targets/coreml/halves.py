"""What float16 cannot hold, so that a node with it computes in float32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import Plan
from edgeport.sample import Array

MOST_HALF, LEAST_HALF = 65504.0, 2.0**-24
"""The largest float16, and the smallest above 0."""


def needs_float32(plan: Plan, node: ir.Node) -> bool:
    """Whether float16 cannot hold a constant or a scale of a node, or float32 was asked for.

    It cannot where a number is finite and beyond its largest, or where all are so small that they become 0.
    """
    if plan.precision_of(node.name) == "fp32":
        return True
    values = [v for v in (*node.inputs, *node.outputs) if v is not None]
    arrays = [v.const_value.numpy() for v in values if v.const_value is not None]
    arrays += [quant.scale for v in values if (quant := plan.qparams(v.name)) is not None]
    return any(_beyond_half(array) for array in arrays)


def _beyond_half(data: Array) -> bool:
    if data.dtype != np.float32 or not data.size:
        return False
    size = np.abs(data[np.isfinite(data)])
    return bool(size.size) and bool(size.max() > MOST_HALF or (0 < size.max() < LEAST_HALF))

"""The constant limits of a Clip."""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.edit import input_of, scalar


def clip_limits(node: ir.Node) -> tuple[float | None, float | None]:
    """(low, high) of a Clip: infinite where omitted, None where the limit is computed by the model."""
    low, high = input_of(node, 1), input_of(node, 2)
    return (-math.inf if low is None else scalar(low), math.inf if high is None else scalar(high))

"""Keys and values that are repeated, so that every query head of a group finds its own.

k [B,h,T,D] --> Unsqueeze or Reshape [B,h,1,T,D] --> Expand [B,h,g,T,D] --> Reshape [B,h*g,T,D]
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import producer, static_shape


def before_repetition(value: ir.Value) -> ir.Value | None:
    """k [B,h,T,D] of the pattern above, given its end; None if it is something else."""
    merged = producer(value, "Reshape")
    repeated = None if merged is None else producer(merged.inputs[0], "Expand")
    opened = None if repeated is None else producer(repeated.inputs[0], "Unsqueeze", "Reshape")
    if repeated is None or opened is None:
        return None
    k = opened.inputs[0]
    shapes = [static_shape(v) for v in (k, opened.outputs[0], repeated.outputs[0], value)]
    if k is None or any(shape is None for shape in shapes):
        return None
    source, single, wide, end = (shape or () for shape in shapes)
    if len(source) != 4 or len(wide) != 5:
        return None
    batch, heads, length, depth = source
    group = wide[2]
    is_repetition = (
        single == (batch, heads, 1, length, depth)
        and wide == (batch, heads, group, length, depth)
        and end == (batch, heads * group, length, depth)
    )
    return k if is_repetition else None

"""Attention is written with MatMul and Softmax, for runtimes older than opset 23.

    q * scale, k^T --> MatMul --> Add(mask) --> Softmax --> MatMul(v) --> [Mul(0 for a row without keys)] --> y

What runtimes fuse, from the first product to the last, stands together. Needs the plain form that `expand_attention`
writes, of known sizes; see `attention_parts.spell_out`. A key that must not be looked at gets -3e4 added to its score,
which float16 holds too and whose exponential is 0 in every float type.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_parts import spell_out, why_whole
from edgeport.passes.edit import nodes
from edgeport.passes.registry import register

_NEVER = np.float32(-3e4)


@register("spell_out_attention")
def spell_out_attention(model: ir.Model) -> bool:
    """Writes out every Attention in the plain form."""
    changed = False
    for node in nodes(model, "Attention"):
        if why_whole(node) is None:
            spell_out(model, node, lambda value: value, never=_NEVER, late_zeros=True)
            changed = True
    return changed

"""Attention."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int
from edgeport.targets.attention import ATTENTION_ATTRIBUTES
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import matmul, reduce, softmax
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import reshape, transpose

_NEVER = {"float32": -1e30, "float16": -3e4}
"""Score of a key that must not be looked at; infinite scores make softmaxes of the Neural Engine fail."""
_FORBIDDEN = {"float32": -3.402e38, "float16": -65503.0}
"""A mask below forbids a key even if nothing else is left: minus infinity and, as in ONNX Runtime, the lowest float."""


@lowers(
    "Attention",
    inputs=4,
    attributes=ATTENTION_ATTRIBUTES,
)
def attention(ctx: Context, node: ir.Node) -> None:
    """softmax(softcap(scale Q K^T) + mask) V for 4-D Q, K, V, as ONNX defines it (opset 24)."""
    q, k, v, mask = ctx.read(node, 0), ctx.read(node, 1), ctx.read(node, 2), ctx.optional(node, 3)
    if any(t.rank != 4 for t in (q, k, v)):
        raise Refused("3-D inputs are not supported", "reshape Q, K and V to [batch, heads, length, depth]")
    if q.dtype not in _NEVER:
        raise Refused(f"Attention of {q.dtype} is not supported", "cast to float32")
    batch, heads, queries, depth = q.shape
    shared, keys = k.shape[1], k.shape[2]
    # Heads that share keys stand as further queries of one head: [b, h, q, d] -> [b, shared, h/shared * q, d].
    folded = (batch, shared, heads // shared * queries)
    scaled = reshape(q * (get_float(node, "scale", 0.0) or 1 / math.sqrt(depth)), (*folded, depth))
    scores = reshape(matmul(scaled, transpose(k, (0, 1, 3, 2))), (batch, heads, queries, keys))
    softcap = get_float(node, "softcap", 0.0)
    if softcap:
        scores = e.tanh(scores / softcap) * softcap
    never = _NEVER[q.dtype]
    causal = np.tril(np.ones((queries, keys), bool)) if get_int(node, "is_causal", 0) else None
    alive: Tensor | None = None
    if mask is not None and mask.dtype == "bool":
        allowed = mask if causal is None else e.both(mask, ctx.builder.constant(causal))
        scores = e.where(allowed, scores, never)
        alive = reduce("reduce_max", e.raw_cast(allowed, scores.dtype), [-1])
    else:
        seen = mask
        if mask is not None:
            if mask.dtype != scores.dtype:
                raise Refused(f"a mask of {mask.dtype} is not supported", "use bool or float32")
            scores = scores + e.maximum(mask, never)
            if causal is not None:
                seen = e.where(ctx.builder.constant(causal), mask, -np.inf)
        if causal is not None:
            scores = e.where(ctx.builder.constant(causal), scores, 2 * never)
        if seen is not None:
            alive = e.raw_cast(reduce("reduce_max", seen, [-1]) > _FORBIDDEN[q.dtype], scores.dtype)
    weights = softmax(scores, -1)
    if alive is not None:
        weights = weights * alive
    ctx.bind(node, reshape(matmul(reshape(weights, (*folded, keys)), v), ctx.shape(node.outputs[0])))

"""Attention."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch

from edgeport.passes.edit import get_float, get_int
from edgeport.targets.attention import ATTENTION_ATTRIBUTES, FORBIDDEN
from edgeport.torch_view.context import Context
from edgeport.torch_view.dtypes import to
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.registry import Refused, lowers

_NEVER = -1e30
"""Score of a key that must not be looked at; with an infinite one a row without keys, and its gradient, is NaN."""


@lowers("Attention", inputs=4, attributes=ATTENTION_ATTRIBUTES)
def attention(ctx: Context, node: ir.Node) -> None:
    """softmax(softcap(scale Q K^T) + mask) V for 4-D Q, K, V, as ONNX defines it (opset 24); halves in float32."""
    floats(ctx, node, 0, 1, 2)
    query, key, value = node.inputs[:3]
    if any(ctx.rank(v) != 4 for v in (query, key, value)):
        raise Refused("3-D inputs are not supported", "reshape Q, K and V to [batch, heads, length, depth]")
    assert query is not None
    assert key is not None
    batch, heads, queries, depth = ctx.shape(query)
    shared, keys = ctx.shape(key)[1:3]
    half = ctx.input_dtype(node) == "float16"
    width = torch.float32 if half else ctx.held(query)
    q, k, v = (to(ctx.read(node, i), width) if half else ctx.read(node, i) for i in range(3))
    # Heads that share keys stand as further queries of one head: [b, h, q, d] -> [b, shared, h/shared * q, d].
    folded = (batch, shared, heads // shared * queries)
    scaled = torch.mul(q, get_float(node, "scale", 0.0) or 1 / math.sqrt(depth))
    if heads != shared:
        scaled = torch.reshape(scaled, (*folded, depth))
    scores = torch.matmul(scaled, torch.permute(k, (0, 1, 3, 2)))
    if heads != shared:
        scores = torch.reshape(scores, (batch, heads, queries, keys))
    softcap = get_float(node, "softcap", 0.0)
    if softcap:
        scores = torch.mul(torch.tanh(torch.div(scores, softcap)), softcap)
    allowed = ctx.constant(np.tril(np.ones((queries, keys), bool)), "causal") if get_int(node, "is_causal", 0) else None
    if ctx.has(node, 3):
        mask, kind = ctx.read(node, 3), ctx.input_dtype(node, 3)
        if node.inputs[3] is None or ctx.shape(node.inputs[3])[-1:] != (keys,):  # ONNX fills it up, torch repeats it
            raise Refused(f"a mask for other than {keys} keys is not supported", "let the passes fill it up")
        if kind == "bool":
            seen = mask
        elif kind == ctx.input_dtype(node):
            mask = to(mask, width) if half else mask
            # What float16 cannot hold is minus infinity in it; its lowest number forbids, too.
            seen = torch.gt(mask, -65503.0 if half else float(FORBIDDEN))
            scores = torch.add(scores, torch.clamp(mask, min=_NEVER))
        else:
            raise Refused(f"a mask of {kind} is not supported", f"use bool or {ctx.input_dtype(node)}")
        allowed = seen if allowed is None else torch.logical_and(seen, allowed)
    if allowed is None:
        weights = torch.softmax(scores, -1)
    else:
        never = torch.full_like(scores, _NEVER)
        weights = torch.softmax(torch.where(allowed, scores, never), -1)
        weights = torch.where(allowed, weights, torch.zeros_like(weights))  # a row without keys gives 0
    if heads != shared:
        weights = torch.reshape(weights, (*folded, keys))
    made = torch.matmul(weights, v)
    if heads != shared:
        made = torch.reshape(made, ctx.shape(node.outputs[0]))
    ctx.bind(node, to(made, ctx.held(node.outputs[0])) if half else made)

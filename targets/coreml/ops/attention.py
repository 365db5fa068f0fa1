"""Attention over four axes."""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.edit import get_float
from edgeport.targets.attention import ATTENTION_ATTRIBUTES
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.masks import Mask, attention_mask
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers


@lowers("Attention", attributes=ATTENTION_ATTRIBUTES, inputs=4)
def attention(ctx: Context, node: ir.Node) -> None:
    """softmax(scale * Q K^T + mask) V for 4-D Q, K, V, as ONNX defines it (opset 24).

    `scaled_dot_product_attention` from iOS 18 on where no heads share keys, else its products and `softmax`.
    """
    q, k, v = node.inputs[:3]
    assert q is not None
    assert k is not None
    assert v is not None
    if any(ctx.rank(t) != 4 for t in (q, k, v)):
        raise Refused("3-D inputs are not supported", "reshape Q, K and V to [batch, heads, length, depth]")
    if get_float(node, "softcap", 0.0):
        raise Refused("softcap is not supported", "export the model with attention decomposed")
    computed = all(ctx.constant(t) is None for t in (q, k, v))
    if computed and ctx.plan.precision_of(node.name) != "fp32":  # a constant mask that float16 cannot hold is clamped
        ctx.width = ctx.floats
    heads, shared, depth = ctx.shape(q)[1], ctx.shape(k)[1], ctx.shape(q)[3]
    scale = get_float(node, "scale", 0.0) or 1 / math.sqrt(depth)
    mask = attention_mask(ctx, node, (ctx.shape(q)[2], ctx.shape(k)[2]))
    if heads == shared and ctx.at_least("iOS18"):
        out = _fused(ctx, node, mask, scale * math.sqrt(depth))
    else:
        out = _written_out(ctx, node, mask, scale)
    if mask.alive is not None:
        out = ctx.emit("mul", x=out, y=mask.alive)
    ctx.bind(node.outputs[0], out)


def _fused(ctx: Context, node: ir.Node, mask: Mask, factor: float) -> Var:
    query, key, value = (ctx.read(v) for v in node.inputs[:3])
    if not math.isclose(factor, 1.0, rel_tol=1e-6):
        query = ctx.emit("mul", x=query, y=ctx.number(factor))
    terms = {} if mask.bias is None else {"attn_mask": mask.bias}
    return ctx.emit("scaled_dot_product_attention", query=query, key=key, value=value, **terms)


def _written_out(ctx: Context, node: ir.Node, mask: Mask, scale: float) -> Var:
    """Heads that share keys stand as further queries of one head: [b, h, q, d] -> [b, shared, h / shared * q, d]."""
    query, key, value = (ctx.read(v) for v in node.inputs[:3])
    batch, heads, queries, depth = query.shape
    shared, keys, width = key.shape[1], key.shape[2], value.shape[3]
    query = ctx.emit("mul", x=query, y=ctx.number(scale))  # before the product, which is safer in float16
    query = ctx.reshape(query, (batch, shared, heads // shared * queries, depth))
    scores = ctx.emit("matmul", x=query, y=key, transpose_y=True)
    scores = ctx.reshape(scores, (batch, heads, queries, keys))
    if mask.bias is not None:
        scores = ctx.emit("add", x=scores, y=mask.bias)
    weights = ctx.emit("softmax", x=scores, axis=-1)
    weights = ctx.reshape(weights, (batch, shared, heads // shared * queries, keys))
    return ctx.reshape(ctx.emit("matmul", x=weights, y=value), (batch, heads, queries, width))

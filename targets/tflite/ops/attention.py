"""Attention -> scaled BATCH_MATMUL, mask, SOFTMAX, BATCH_MATMUL."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.inner import SCORES, WEIGHTS, inner_name
from edgeport.quantize.plan import QParams
from edgeport.targets.attention import ATTENTION_ATTRIBUTES
from edgeport.targets.tflite.attributes import float_attr
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.layout_choice import cheaper
from edgeport.targets.tflite.ops.attention_masks import attention_mask
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers


@lowers(
    "Attention",
    attributes=ATTENTION_ATTRIBUTES,
    inputs=4,
    int8=True,
)
def attention(ctx: Context, node: ir.Node) -> None:
    """softmax(scale * Q K^T + mask) V for 4-D Q, K, V, as ONNX defines it (opset 24).

    In integers the two products are so; what lies between them, the masked scores before all, is float.
    """
    q, k, v = node.inputs[:3]
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    assert q is not None
    assert k is not None
    assert v is not None
    if any(ctx.rank(t) != 4 for t in (q, k, v)):
        raise Refused("3-D inputs are not supported", "reshape Q, K and V to [batch, heads, length, depth]")
    y = node.outputs[0]
    heads, shared = ctx.shape(q)[1], ctx.shape(k)[1]
    batch, _, queries, depth = ctx.shape(q)
    keys, width = ctx.shape(k)[2], ctx.shape(v)[3]
    if float_attr(node, "softcap", 0.0):
        raise Refused("softcap is not supported", "export the model with attention decomposed")
    scale = float_attr(node, "scale", 0.0) or 1 / math.sqrt(depth)
    factor, inner = ctx.number(scale), _inner(ctx, node, scale)
    query = ctx.read(node, q)
    if inner is None:
        query = ctx.step(y, "MUL", [query, factor], "MulOptions")
    key_layout = cheaper(ctx, k, (0, 1, 2, 3), (0, 1, 3, 2))
    key, value = ctx.read(node, k, key_layout), ctx.read(node, v)
    # Heads that share keys stand as further queries of one head: [b, h, q, d] -> [b, shared, h/shared * q, d].
    folded = heads // shared * queries
    query = shaped(ctx, y, query, (batch, shared, folded, depth))
    product = None if inner is None else inner.product
    scores = ctx.temporary(y, "scores", (batch, shared, folded, keys), query.dtype, product)
    plain = key_layout == (0, 1, 2, 3)
    ctx.emit("BATCH_MATMUL", [query, key], [scores], "BatchMatMulOptions", adjX=False, adjY=plain)
    scores = shaped(ctx, y, scores, (batch, heads, queries, keys))
    if inner is not None:
        real = ctx.temporary(y, "scores|f", scores.shape)
        ctx.emit("DEQUANTIZE", [scores], [real], "DequantizeOptions")
        scores = ctx.step(y, "MUL", [real, factor], "MulOptions")
    mask_terms = attention_mask(ctx, node, mask, (queries, keys))
    if mask_terms.bias is not None:
        scores = ctx.step(y, "ADD", [scores, mask_terms.bias], "AddOptions")
    weights = ctx.step(y, "SOFTMAX", [scores], "SoftmaxOptions", beta=1.0)
    if mask_terms.alive is not None:
        weights = ctx.step(y, "MUL", [weights, mask_terms.alive], "MulOptions")
    if inner is not None:
        stored = ctx.temporary(y, "weights", weights.shape, "int8", inner.weights)
        ctx.emit("QUANTIZE", [weights], [stored], "QuantizeOptions")
        weights = stored
    weights = shaped(ctx, y, weights, (batch, shared, folded, keys))
    out = ctx.output(node)
    target = (
        out if shared == heads else ctx.temporary(y, "folded", (batch, shared, folded, width), out.dtype, out.quant)
    )
    ctx.emit("BATCH_MATMUL", [weights, value], [target], "BatchMatMulOptions", adjX=False, adjY=False)
    if target is not out:
        ctx.reshape(target, out)


class _Inner(NamedTuple):
    product: QParams
    """Of Q K^T before it is scaled."""
    weights: QParams


def _inner(ctx: Context, node: ir.Node, scale: float) -> _Inner | None:
    """The parameters of what lies between the products, None where they run in float."""
    if not ctx.int8(node):
        return None
    scores, weights = (ctx.plan.qparams(inner_name(node, role)) for role in (SCORES, WEIGHTS))
    assert scores is not None
    assert weights is not None
    return _Inner(replace(scores, scale=np.asarray(scores.scale / np.float32(scale), np.float32)), weights)

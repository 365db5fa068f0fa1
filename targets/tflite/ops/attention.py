"""Attention -> scaled BATCH_MATMUL, mask, SOFTMAX, BATCH_MATMUL."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.inner import SCORES, WEIGHTS, inner_name
from edgeport.passes.attention_mask import lower_bound
from edgeport.quantize.plan import QParams
from edgeport.sample import Array
from edgeport.targets.tflite.attributes import float_attr, int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.registry import Refused, lowers

_NEVER = np.float32(-1e30)
_FORBIDDEN = np.float32(-3.402e38)
"""A mask below forbids a key even if nothing else is left: minus infinity and, as in ONNX Runtime, the lowest float."""


@lowers(
    "Attention",
    attributes=(
        "is_causal",
        "kv_num_heads",
        "q_num_heads",
        "qk_matmul_output_mode",
        "scale",
        "softcap",
        "softmax_precision",
    ),
    inputs=4,
    int8=True,
)
def attention(ctx: Context, node: ir.Node) -> None:
    """softmax(scale * Q K^T + mask) V for 4-D Q, K, V, as ONNX defines it (opset 24).

    In integers the two products are so; what lies between them, the masked scores before all, is float.

    `q_num_heads` and `kv_num_heads` describe 3-D inputs, which are refused; `qk_matmul_output_mode` and
    `softmax_precision` say what an output that is refused holds, and in which float type at least to compute.
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
    key_layout = ctx.cheaper(k, (0, 1, 2, 3), (0, 1, 3, 2))
    key, value = ctx.read(node, k, key_layout), ctx.read(node, v)
    # Heads that share keys stand as further queries of one head: [b, h, q, d] -> [b, shared, h/shared * q, d].
    folded = heads // shared * queries
    query = _shaped(ctx, y, query, (batch, shared, folded, depth))
    product = None if inner is None else inner.product
    scores = ctx.temporary(y, "scores", (batch, shared, folded, keys), query.dtype, product)
    plain = key_layout == (0, 1, 2, 3)
    ctx.emit("BATCH_MATMUL", [query, key], [scores], "BatchMatMulOptions", adjX=False, adjY=plain)
    scores = _shaped(ctx, y, scores, (batch, heads, queries, keys))
    if inner is not None:
        real = ctx.temporary(y, "scores|f", scores.shape)
        ctx.emit("DEQUANTIZE", [scores], [real], "DequantizeOptions")
        scores = ctx.step(y, "MUL", [real, factor], "MulOptions")
    mask_terms = _mask(ctx, node, mask, (queries, keys))
    if mask_terms.bias is not None:
        scores = ctx.step(y, "ADD", [scores, mask_terms.bias], "AddOptions")
    weights = ctx.step(y, "SOFTMAX", [scores], "SoftmaxOptions", beta=1.0)
    if mask_terms.alive is not None:
        weights = ctx.step(y, "MUL", [weights, mask_terms.alive], "MulOptions")
    if inner is not None:
        stored = ctx.temporary(y, "weights", weights.shape, "int8", inner.weights)
        ctx.emit("QUANTIZE", [weights], [stored], "QuantizeOptions")
        weights = stored
    weights = _shaped(ctx, y, weights, (batch, shared, folded, keys))
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


def _shaped(ctx: Context, y: ir.Value, tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tensor.shape == shape:
        return tensor
    out = ctx.temporary(y, "fold", shape, tensor.dtype, tensor.quant)
    ctx.reshape(tensor, out)
    return out


class _Mask(NamedTuple):
    bias: Tensor | None
    """Added to the scores."""
    alive: Tensor | None
    """0 for a query that may look at no key at all (its result is 0), 1 for others; None if there is none."""


def _mask(ctx: Context, node: ir.Node, mask: ir.Value | None, size: tuple[int, int]) -> _Mask:
    """Boolean masks and causality as something to add: 0 where allowed, -1e30 where not."""
    y = node.outputs[0]
    causal = np.tril(np.ones(size, bool)) if int_attr(node, "is_causal", 0) else None
    if mask is None:
        return _Mask(None if causal is None else ctx.builder.constant("const/causal", _bias(causal)), None)
    if ctx.rank(mask) < 2 or ctx.shape(mask)[-1] != size[1] or ctx.shape(mask)[-2] not in (1, size[0]):
        raise Refused(f"a mask of shape {list(ctx.shape(mask))} does not cover {size[0]} queries and {size[1]} keys")
    constant = ctx.constant(mask)
    if constant is not None:
        return _constant_mask(ctx, mask, constant, causal)
    if ctx.dtype(mask) not in ("bool", "float32"):
        raise Refused(f"a mask of {ctx.dtype(mask)} is not supported", "use bool or float32")
    key = (mask, causal is not None)
    if key not in ctx.masks:  # layers share their mask
        data = ctx.read(node, mask)
        ctx.masks[key] = (
            _boolean_mask(ctx, y, data, causal) if data.dtype == "bool" else _float_mask(ctx, y, mask, data, causal)
        )
    return _Mask(*ctx.masks[key])


def _constant_mask(ctx: Context, mask: ir.Value, data: Array, causal: Array | None) -> _Mask:
    boolean = data.dtype == bool
    seen = data if boolean else data > _FORBIDDEN
    allowed = data if boolean else data > _NEVER
    if causal is not None:
        seen, allowed = seen & causal, allowed & causal
    added: Array = np.asarray(np.where(allowed, 0 if boolean else data, np.where(seen, _NEVER, 2 * _NEVER)), np.float32)
    rows: Array = np.asarray(seen.any(-1, keepdims=True), np.float32)
    alive = None if rows.all() else ctx.builder.constant(f"{mask.name}|alive", rows)
    return _Mask(ctx.builder.constant(f"{mask.name}|bias", added), alive)


def _boolean_mask(ctx: Context, y: ir.Value, data: Tensor, causal: Array | None) -> _Mask:
    if causal is not None:
        data = ctx.step(y, "LOGICAL_AND", [data, ctx.builder.constant("const/causal", causal)], "LogicalAndOptions")
    ones = cast(ctx, y, data, "float32")
    shifted = ctx.step(y, "SUB", [ones, ctx.number(1)], "SubOptions")
    bias = ctx.step(y, "MUL", [shifted, ctx.number(-float(_NEVER))], "MulOptions")
    return _Mask(bias, _row_maximum(ctx, y, ones))


def _float_mask(ctx: Context, y: ir.Value, mask: ir.Value, data: Tensor, causal: Array | None) -> _Mask:
    """A mask that may hold minus infinity is floored, and rows of nothing else are found without comparisons.

    Beside a causal term the floor lies above it: a row of which only floored keys are left has their mean.
    """
    lowest = lower_bound(mask)
    alive, floor, floored = None, -3e38, lowest is not None and lowest > _FORBIDDEN
    if not floored:
        seen = data
        if causal is not None:
            future = np.where(causal, np.float32(0), np.float32(-np.inf))
            seen = ctx.step(y, "ADD", [data, ctx.builder.constant("const/future", future)], "AddOptions")
        best = _row_maximum(ctx, y, seen)  # minus infinity becomes 0, anything above -1e38 becomes 1
        above = ctx.step(y, "ADD", [best, ctx.number(-float(_FORBIDDEN))], "AddOptions")
        steep = ctx.step(y, "MUL", [above, ctx.number(1e-30)], "MulOptions")
        alive = ctx.step(y, "MINIMUM", [ctx.step(y, "MAXIMUM", [steep, ctx.number(0)]), ctx.number(1)])
    if causal is not None:
        floor, floored = float(_NEVER), False
    bias = data if floored else ctx.step(y, "MAXIMUM", [data, ctx.number(floor)])
    if causal is not None:
        future = np.where(causal, np.float32(0), 2 * _NEVER)
        bias = ctx.step(y, "ADD", [bias, ctx.builder.constant("const/causal", future)], "AddOptions")
    return _Mask(bias, alive)


def _row_maximum(ctx: Context, y: ir.Value, data: Tensor) -> Tensor:
    last = ctx.ints("axes", (len(data.shape) - 1,))
    rows = (*data.shape[:-1], 1)
    return ctx.step(y, "REDUCE_MAX", [data, last], "ReducerOptions", shape=rows, keepDims=True)


def _bias(allowed: Array) -> Array:
    return np.asarray(np.where(allowed, np.float32(0), _NEVER))

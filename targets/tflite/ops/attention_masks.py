"""The mask of an Attention as something to add to the scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_mask import lower_bound
from edgeport.sample import Array
from edgeport.targets.attention import FORBIDDEN
from edgeport.targets.tflite.attributes import int_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.ops.elementwise import cast
from edgeport.targets.tflite.registry import Refused

_NEVER = np.float32(-1e30)


class Mask(NamedTuple):
    """A mask as the lowering of Attention applies it."""

    bias: Tensor | None
    """Added to the scores."""
    alive: Tensor | None
    """0 for a query that may look at no key at all (its result is 0), 1 for others; None if there is none."""


def attention_mask(ctx: Context, node: ir.Node, mask: ir.Value | None, size: tuple[int, int]) -> Mask:
    """Boolean masks and causality as something to add: 0 where allowed, -1e30 where not."""
    y = node.outputs[0]
    causal = np.tril(np.ones(size, bool)) if int_attr(node, "is_causal", 0) else None
    if mask is None:
        return Mask(None if causal is None else ctx.builder.constant("const/causal", _bias(causal)), None)
    if ctx.rank(mask) < 2 or ctx.shape(mask)[-1] != size[1] or ctx.shape(mask)[-2] not in (1, size[0]):
        raise Refused(f"a mask of shape {list(ctx.shape(mask))} does not cover {size[0]} queries and {size[1]} keys")
    mask = without_expand(ctx, mask)
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
    return Mask(*ctx.masks[key])


def without_expand(ctx: Context, mask: ir.Value) -> ir.Value:
    """What stands before an Expand that repeats a mask: ADD broadcasts, what ONNX Runtime's Attention does not."""
    node = mask.producer()
    if node is None or node.op_type != "Expand" or not spreads_masks_only(ctx, node):
        return mask
    source = node.inputs[0]
    assert source is not None
    return source


def spreads_masks_only(ctx: Context, expand: ir.Node) -> bool:
    """Whether nothing but attentions reads an Expand, as their mask, and its input has all the keys."""
    source, mask = expand.inputs[0], expand.outputs[0]
    if source is None or mask.is_graph_output() or ctx.rank(source) < 2:
        return False
    if ctx.shape(source)[-1] != ctx.shape(mask)[-1] or ctx.dtype(source) not in ("bool", "float32"):
        return False
    return bool(mask.uses()) and all(user.op_type == "Attention" and index == 3 for user, index in mask.uses())


def _constant_mask(ctx: Context, mask: ir.Value, data: Array, causal: Array | None) -> Mask:
    boolean = data.dtype == bool
    seen = data if boolean else data > FORBIDDEN
    allowed = data if boolean else data > _NEVER
    if causal is not None:
        seen, allowed = seen & causal, allowed & causal
    added: Array = np.asarray(np.where(allowed, 0 if boolean else data, np.where(seen, _NEVER, 2 * _NEVER)), np.float32)
    rows: Array = np.asarray(seen.any(-1, keepdims=True), np.float32)
    alive = None if rows.all() else ctx.builder.constant(f"{mask.name}|alive", rows)
    return Mask(ctx.builder.constant(f"{mask.name}|bias", added), alive)


def _boolean_mask(ctx: Context, y: ir.Value, data: Tensor, causal: Array | None) -> Mask:
    ones = cast(ctx, y, data, "float32")
    if causal is not None:
        past = ctx.builder.constant("const/past", causal.astype(np.float32))
        ones = ctx.step(y, "MUL", [ones, past], "MulOptions")
    shifted = ctx.step(y, "SUB", [ones, ctx.number(1)], "SubOptions")
    bias = ctx.step(y, "MUL", [shifted, ctx.number(-float(_NEVER))], "MulOptions")
    return Mask(bias, _row_maximum(ctx, y, ones))


def _float_mask(ctx: Context, y: ir.Value, mask: ir.Value, data: Tensor, causal: Array | None) -> Mask:
    """A mask that may hold minus infinity is floored, and rows of nothing else are found without comparisons.

    Beside a causal term the floor lies above it: a row of which only floored keys are left has their mean.
    """
    lowest = lower_bound(mask)
    alive, floor, floored = None, -3e38, lowest is not None and lowest > FORBIDDEN
    if not floored:
        seen = data
        if causal is not None:
            future = np.where(causal, np.float32(0), np.float32(-np.inf))
            seen = ctx.step(y, "ADD", [data, ctx.builder.constant("const/future", future)], "AddOptions")
        best = _row_maximum(ctx, y, seen)  # minus infinity becomes 0, anything above -1e38 becomes 1
        above = ctx.step(y, "ADD", [best, ctx.number(-float(FORBIDDEN))], "AddOptions")
        steep = ctx.step(y, "MUL", [above, ctx.number(1e-30)], "MulOptions")
        alive = ctx.step(y, "MINIMUM", [ctx.step(y, "MAXIMUM", [steep, ctx.number(0)]), ctx.number(1)])
    if causal is not None:
        floor, floored = float(_NEVER), False
    bias = data if floored else ctx.step(y, "MAXIMUM", [data, ctx.number(floor)])
    if causal is not None:
        future = np.where(causal, np.float32(0), 2 * _NEVER)
        bias = ctx.step(y, "ADD", [bias, ctx.builder.constant("const/causal", future)], "AddOptions")
    return Mask(bias, alive)


def _row_maximum(ctx: Context, y: ir.Value, data: Tensor) -> Tensor:
    last = ctx.ints("axes", (len(data.shape) - 1,))
    rows = (*data.shape[:-1], 1)
    return ctx.step(y, "REDUCE_MAX", [data, last], "ReducerOptions", shape=rows, keepDims=True)


def _bias(allowed: Array) -> Array:
    return np.asarray(np.where(allowed, np.float32(0), _NEVER))

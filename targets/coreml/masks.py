"""The mask of an Attention as something to add to the scores.

What forbids a key is as negative as the program's floats and the Neural Engine's softmax bear: -1e30 in float32, -4e4
in float16, never minus infinity. A query that may look at no key at all has the result 0 (as ONNX Runtime has it).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_mask import lower_bound
from edgeport.passes.edit import get_int
from edgeport.sample import Array
from edgeport.targets.attention import FORBIDDEN
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused

_NEVER = {"float32": np.float32(-1e30), "float16": np.float32(-4e4)}


class Mask(NamedTuple):
    """A mask as the lowering of Attention applies it, in the current node's floats."""

    bias: Var | None
    """Added to the scores; broadcasts to them."""
    alive: Var | None
    """[..., queries, 1]: 0 for a query that may look at no key at all, 1 for others; None if there is none."""


def attention_mask(ctx: Context, node: ir.Node, size: tuple[int, int]) -> Mask:
    """Mask and causality of an Attention of so many queries and keys.

    Raises:
        Refused: the mask does not cover them.
    """
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    causal = np.tril(np.ones(size, bool)) if get_int(node, "is_causal", 0) else None
    if mask is None:
        return Mask(None, None) if causal is None else _constant_mask(ctx, ("causal", size), causal, None)
    if ctx.rank(mask) < 2 or ctx.shape(mask)[-1] != size[1] or ctx.shape(mask)[-2] not in (1, size[0]):
        raise Refused(f"a mask of shape {list(ctx.shape(mask))} does not cover {size[0]} queries and {size[1]} keys")
    mask = _before_expand(ctx, mask)
    constant = ctx.constant(mask)
    if constant is not None:
        return _constant_mask(ctx, mask, constant, causal)
    dtype = ctx.dtype(mask)
    if dtype not in ("bool", "float32"):
        raise Refused(f"a mask of {dtype} is not supported", "use bool or float32")
    key = (mask, causal is not None, ctx.width)  # layers share their mask
    if dtype == "bool":
        ones = ctx.kept((*key, "allowed"), lambda: _allowed(ctx, mask, causal))
        bias = ctx.kept((*key, "bias"), lambda: _boolean_bias(ctx, ones))
        return Mask(bias, ctx.kept((*key, "alive"), lambda: _any(ctx, ones)))
    bias = ctx.kept((*key, "bias"), lambda: _float_bias(ctx, mask, causal))
    lowest = lower_bound(mask)
    if lowest is not None and lowest > FORBIDDEN:
        return Mask(bias, None)
    return Mask(bias, ctx.kept((*key, "alive"), lambda: _float_alive(ctx, mask, causal)))


def _before_expand(ctx: Context, mask: ir.Value) -> ir.Value:
    """What stands before an Expand that repeats a mask: addition broadcasts by itself."""
    node = mask.producer()
    if node is None or node.op_type != "Expand" or node.domain != "":
        return mask
    source = node.inputs[0]
    if source is None or ctx.rank(source) < 2 or ctx.shape(source)[-1] != ctx.shape(mask)[-1]:
        return mask
    return source


def _constant_mask(ctx: Context, key: object, data: Array, causal: Array | None) -> Mask:
    never, boolean = _NEVER[ctx.width], data.dtype == bool
    seen = data if boolean else data > FORBIDDEN
    allowed = data if boolean else data > never
    if causal is not None:
        seen, allowed = seen & causal, allowed & causal
    low = np.where(seen, never, 2 * never) if ctx.width == "float32" else never
    added = np.where(allowed, 0 if boolean else data, low)
    rows = np.asarray(seen.any(-1, keepdims=True))
    names = (key, causal is not None, ctx.width)
    bias = ctx.kept((*names, "bias"), lambda: ctx.stored(ctx.floating(added), "mask"))
    if rows.all():
        return Mask(bias, None)
    return Mask(bias, ctx.kept((*names, "alive"), lambda: ctx.stored(ctx.floating(rows), "mask_alive")))


def _allowed(ctx: Context, mask: ir.Value, causal: Array | None) -> Var:
    """1 where allowed, 0 where not."""
    data = ctx.read(mask)
    return ctx.cast(data if causal is None else ctx.emit("logical_and", x=data, y=causal), ctx.width)


def _boolean_bias(ctx: Context, ones: Var) -> Var:
    """0 where allowed, as negative as it gets where not."""
    return ctx.emit("mul", x=ctx.emit("sub", x=ones, y=ctx.number(1)), y=ctx.number(-float(_NEVER[ctx.width])))


def _any(ctx: Context, ones: Var) -> Var:
    return ctx.emit("reduce_max", x=ones, axes=[-1], keep_dims=True)


def _float_bias(ctx: Context, mask: ir.Value, causal: Array | None) -> Var:
    """Clamped before it is cast, so that nothing becomes minus infinity on the way."""
    data, half = ctx.made(mask), ctx.width == "float16"
    floor = float(_NEVER[ctx.width]) if half or causal is not None else -3e38
    number = np.dtype(mil.dtype_of(data)).type(floor)
    bias = ctx.cast(ctx.emit("maximum", x=data, y=number), ctx.width)
    if causal is None:
        return bias
    future = floor if half else 2 * floor  # a row of which only floored keys are left has their mean
    return ctx.emit("minimum", x=bias, y=_ceiling(causal, future, ctx.width))


def _float_alive(ctx: Context, mask: ir.Value, causal: Array | None) -> Var:
    data = ctx.made(mask)
    dtype = mil.dtype_of(data)
    if causal is not None:
        data = ctx.emit("minimum", x=data, y=_ceiling(causal, -np.inf, dtype))
    if dtype == "float16":  # whose lowest number is an ordinary one in the float32 model
        seen = ctx.emit("greater_equal", x=_any(ctx, data), y=np.finfo(np.float16).min)
    else:
        seen = ctx.emit("greater", x=_any(ctx, data), y=FORBIDDEN)
    return ctx.cast(seen, ctx.width)


def _ceiling(causal: Array, future: float, dtype: str) -> Array:
    """The most that a mask may be: anything for keys that causality shows, `future` for others."""
    return np.asarray(np.where(causal, np.finfo(dtype).max, future), dtype)

"""Choice between operands, bounds, and conversion."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.clip_limits import clip_limits
from edgeport.targets.bounds import bounds
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var, dtype_of
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.coreml.wraparound import wrapped


@lowers("Where", inputs=3)
def where(ctx: Context, node: ir.Node) -> None:
    """`select`."""
    cond, a, b = (ctx.read(value) for value in node.inputs)
    ctx.bind(node.outputs[0], select(ctx, cond, a, b, ctx.shape(node.outputs[0])))


def select(ctx: Context, cond: Var, a: Var, b: Var, shape: tuple[int, ...]) -> Var:
    """`select` of a shape that all three broadcast to.

    coremltools takes the result's shape from `a` and `b` alone: where the condition is larger, one of them is spread.
    """
    if np.broadcast_shapes(tuple(a.shape), tuple(b.shape)) != shape:
        a = _spread(ctx, a, shape, cond)
    return ctx.emit("select", cond=cond, a=a, b=b)


def _spread(ctx: Context, var: Var, shape: tuple[int, ...], like: Var) -> Var:
    """A value repeated to a shape; one number without being stored that often where the system can do so."""
    if var.val is not None and np.size(var.val) == 1 and like.val is None and tuple(like.shape) == shape:
        number = np.asarray(var.val).reshape(-1)[0]
        if ctx.at_least("iOS16"):
            return ctx.emit("fill_like", ref_tensor=like, value=number)
    wide = ctx.reshape(var, (1,) * (len(shape) - len(var.shape)) + tuple(var.shape))
    return ctx.emit("tile", x=wide, reps=np.asarray([n // m for n, m in zip(shape, wide.shape, strict=True)], np.int32))


@lowers("Clip", inputs=3)
def clip(ctx: Context, node: ir.Node) -> None:
    """`relu6` or `clip` between constants, else `maximum` and `minimum`. A limit that no number reaches is none."""
    x, y = node.inputs[0], node.outputs[0]
    whole = ctx.mil_dtype(y) == "int32"
    most = float(np.iinfo(np.int32).max if whole else np.finfo(ctx.width).max)
    low, high = clip_limits(node)
    low = -math.inf if low is not None and low < -most else low
    high = math.inf if high is not None and high > most else high
    result = ctx.read(x)
    if (low, high) == (-math.inf, math.inf):
        result = ctx.emit("identity", x=result)
    elif not whole and low is not None and high is not None:
        result = _clipped(ctx, result, low, high)
    else:
        for kind, index, idle in (("maximum", 1, low == -math.inf), ("minimum", 2, high == math.inf)):
            if not idle:
                result = ctx.emit(kind, x=result, y=ctx.reshape(ctx.read(node.inputs[index]), ()))
    ctx.bind(y, result)


def _clipped(ctx: Context, x: Var, low: float, high: float) -> Var:
    if (low, high) == (0, 6):
        return ctx.emit("relu6", x=x)
    if (low, high) == (0, math.inf):
        return ctx.emit("relu", x=x)
    if -math.inf < low < high < math.inf and ctx.number(low) < ctx.number(high):
        return ctx.emit("clip", x=x, alpha=ctx.number(low), beta=ctx.number(high))
    if low > -math.inf:
        x = ctx.emit("maximum", x=x, y=ctx.number(low))
    return ctx.emit("minimum", x=x, y=ctx.number(high)) if high < math.inf else x


@lowers("Cast", attributes=("to", "saturate"))
def cast(ctx: Context, node: ir.Node) -> None:
    """`cast`, which cuts floats towards zero; whatever is not 0 is true, and narrow integers keep the low bits.

    `saturate` concerns float8 only, which is refused as a dtype.
    """
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    source, target = ctx.dtype(x), ctx.dtype(y)
    if target in ("uint32", "uint64") and source.startswith("int") and (bounds(x) or (-1, 0))[0] < 0:
        message = f"negative numbers become numbers beyond int32 in {target}, and Core ML has none"
        raise Refused(message, "cast to int64", "unsupported-dtype")
    var, wanted = ctx.read(x), ctx.mil_dtype(y)
    if dtype_of(var) == wanted:
        result = var
    elif wanted == "bool":
        zero = np.int32(0) if dtype_of(var) == "int32" else ctx.number(0)
        result = ctx.emit("not_equal", x=var, y=zero)
    else:
        result = ctx.cast(var, wanted)
    if wanted == "int32" and source != "bool" and not _holds(target, source):
        result = wrapped(ctx, result, target)
    ctx.bind(y, ctx.emit("identity", x=result) if result is var else result)


def _holds(target: str, source: str) -> bool:
    """Whether an integer dtype has every number of another."""
    if not source.startswith(("int", "uint")):
        return False
    outer, inner = np.iinfo(target), np.iinfo(source)
    return bool(outer.min <= inner.min and inner.max <= outer.max)

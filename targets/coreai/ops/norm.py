"""Normalizations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.elements import raw_cast, unary
from edgeport.targets.coreai.folds import mean, total
from edgeport.targets.coreai.ops.elementwise import floats
from edgeport.targets.coreai.program import Tensor, binary
from edgeport.targets.coreai.registry import Refused, lowers
from edgeport.targets.coreai.views import reshape, unsigned
from edgeport.targets.coreai.window import cover
from edgeport.targets.window import Window


def _centred(x: Tensor, axes: Sequence[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Without mean and of variance 1; the mean, and one over the deviation."""
    middle = mean(x, axes)
    moved = x - middle
    inverse = unary("rsqrt", mean(moved * moved, axes) + epsilon)
    return moved * inverse, middle, inverse


def _along(x: Tensor, rank: int, axis: int = 1) -> Tensor:
    """A vector along one of several axes."""
    return reshape(x, [x.size if a == axis else 1 for a in range(rank)])


@lowers("BatchNormalization", inputs=5, attributes=("epsilon", "momentum", "training_mode"))
def batch_norm(ctx: Context, node: ir.Node) -> None:
    """A factor and a term a channel; `momentum` is for training."""
    if get_int(node, "training_mode", 0):
        raise Refused("training_mode=1 is not supported", "export the model in inference mode")
    x, epsilon = ctx.read(node, 0), get_float(node, "epsilon", 1e-5)
    floats(node, x)
    scale, bias, middle, variance = (ctx.read(node, i) for i in range(1, 5))
    data = [t.data for t in (scale, bias, middle, variance)]
    if all(d is not None for d in data):
        gamma, beta, mu, var = (np.asarray(d, np.float64) for d in data)
        gain = gamma / np.sqrt(var + epsilon)
        factor, term = x.like(gain), x.like(beta - mu * gain)
    else:
        factor = raw_cast(scale, x.dtype) * unary("rsqrt", raw_cast(variance, x.dtype) + epsilon)
        term = raw_cast(bias, x.dtype) - raw_cast(middle, x.dtype) * factor
    ctx.bind(node, x * _along(factor, x.rank) + _along(term, x.rank))


@lowers("InstanceNormalization", inputs=3, attributes=("epsilon",))
def instance_norm(ctx: Context, node: ir.Node) -> None:
    """Over the spatial axes."""
    x = ctx.read(node, 0)
    floats(node, x)
    normal = _centred(x, range(2, x.rank), get_float(node, "epsilon", 1e-5))[0]
    ctx.bind(node, normal * _along(ctx.read(node, 1), x.rank) + _along(ctx.read(node, 2), x.rank))


def _stashed(node: ir.Node, x: Tensor) -> Tensor:
    """In float32 where half precision says so."""
    return raw_cast(x, "float32") if x.dtype == "float16" and get_int(node, "stash_type", 1) == 1 else x


@lowers("GroupNormalization", inputs=3, attributes=("epsilon", "num_groups", "stash_type"))
def group_norm(ctx: Context, node: ir.Node) -> None:
    """Over groups of channels."""
    x, groups = ctx.read(node, 0), get_int(node, "num_groups", 1)
    floats(node, x)
    parts = reshape(_stashed(node, x), (x.shape[0], groups, -(-x.size // max(x.shape[0] * groups, 1))))
    normal = reshape(_centred(parts, [2], get_float(node, "epsilon", 1e-5))[0], x.shape)
    normal = raw_cast(normal, x.dtype)
    ctx.bind(node, normal * _along(ctx.read(node, 1), x.rank) + _along(ctx.read(node, 2), x.rank))


@lowers("LayerNormalization", inputs=3, outputs=3, attributes=("axis", "epsilon", "stash_type"))
def layer_norm(ctx: Context, node: ir.Node) -> None:
    """Over the axes from `axis` on."""
    x, bias = ctx.read(node, 0), ctx.optional(node, 2)
    floats(node, x)
    axes = range(get_int(node, "axis", -1) % x.rank, x.rank)
    normal, middle, inverse = _centred(_stashed(node, x), axes, get_float(node, "epsilon", 1e-5))
    scaled = raw_cast(normal, x.dtype) * ctx.read(node, 1)
    more = [
        raw_cast(found, ctx.own_dtype(out)) if out.uses() or out.is_graph_output() else None
        for found, out in zip((middle, inverse), node.outputs[1:], strict=False)
    ]
    ctx.bind(node, scaled if bias is None else scaled + bias, *more)


@lowers("RMSNormalization", inputs=2, attributes=("axis", "epsilon", "stash_type"))
def rms_norm(ctx: Context, node: ir.Node) -> None:
    """Divided by the root of the mean square over the axes from `axis` on."""
    x = ctx.read(node, 0)
    floats(node, x)
    axes, stashed = range(get_int(node, "axis", -1) % x.rank, x.rank), _stashed(node, x)
    inverse = unary("rsqrt", mean(stashed * stashed, axes) + get_float(node, "epsilon", 1e-5))
    ctx.bind(node, raw_cast(stashed * inverse, x.dtype) * ctx.read(node, 1))


@lowers("LpNormalization", attributes=("axis", "p"))
def lp_norm(ctx: Context, node: ir.Node) -> None:
    """Divided by a norm; 0 where that is 0."""
    x, axis, p = ctx.read(node, 0), get_int(node, "axis", -1), get_int(node, "p", 2)
    floats(node, x)
    if p not in (1, 2):
        raise Refused(f"p={p} is not supported")
    norm = total(e.absolute(x), [axis]) if p == 1 else e.sqrt(total(x * x, [axis]))
    ctx.bind(node, x / e.where(norm > 0, norm, 1))


@lowers("LRN", attributes=("alpha", "beta", "bias", "size"))
def lrn(ctx: Context, node: ir.Node) -> None:
    """Squares summed over neighbouring channels, which a pool over [channels, everything else] does."""
    x, size = ctx.read(node, 0), get_int(node, "size", 1)
    floats(node, x)
    planes = reshape(x, (x.shape[0], 1, x.shape[1], x.size // max(x.shape[0] * x.shape[1], 1)))
    win = Window(planes.shape[2:], planes.shape[2:], (size, 1), (1, 1), (1, 1), ((size - 1) // 2, 0))
    parameters = [unsigned(v) for v in (win.kernel, win.strides, win.dilations)]
    sums = x.builder.step("sumpool2d", [cover(planes * planes, win), *parameters], planes.shape, x.dtype)
    base = sums * (get_float(node, "alpha", 1e-4) / size) + get_float(node, "bias", 1.0)
    ctx.bind(node, x / reshape(binary("pow", base, get_float(node, "beta", 0.75)), x.shape))

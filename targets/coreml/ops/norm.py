"""Normalizations, in one MIL operation wherever there is one: the Neural Engine has kernels for whole norms only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, input_of
from edgeport.sample import Array
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.reduce import over_largest
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.halves import LEAST_HALF

_LEAST_NORMAL = 2.0**-14
"""Below, float16 loses digits."""


@lowers("LayerNormalization", attributes=("axis", "epsilon", "stash_type"), inputs=3, outputs=3)
def layer_normalization(ctx: Context, node: ir.Node) -> None:
    """`layer_norm` over the axes from `axis` on; mean and inverse deviation on request."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    _float32_only(node)
    shape = ctx.shape(x)
    axes = list(range(get_int(node, "axis", -1) % len(shape), len(shape)))
    moments = [v for v in node.outputs[1:] if v.uses() or v.is_graph_output()]
    if moments:  # which overflow easily in float16
        ctx.width = "float32"
    data, epsilon = ctx.read(x), get_float(node, "epsilon", 1e-5)
    gamma, beta = (_whole(ctx, input_of(node, i), shape[axes[0] :]) for i in (1, 2))
    out = _layer_norm(ctx, data, axes, epsilon, gamma, None if gamma is None else beta)
    if gamma is None and input_of(node, 1) is not None:
        out = ctx.emit("mul", x=out, y=ctx.read(node.inputs[1]))
    if (gamma is None or beta is None) and input_of(node, 2) is not None:
        out = ctx.emit("add", x=out, y=ctx.read(node.inputs[2]))
    ctx.bind(y, out)
    if moments:
        mean = ctx.emit("reduce_mean", x=data, axes=axes, keep_dims=True)
        square = ctx.emit("square", x=ctx.emit("sub", x=data, y=mean))
        variance = ctx.emit("reduce_mean", x=square, axes=axes, keep_dims=True)
        inverse = ctx.emit("rsqrt", x=variance, epsilon=ctx.number(epsilon))
        for value, var in zip(node.outputs[1:], (mean, inverse), strict=False):
            if value in moments:
                ctx.bind(value, var)


@lowers("RMSNormalization", attributes=("axis", "epsilon", "stash_type"), inputs=2)
def rms_normalization(ctx: Context, node: ir.Node) -> None:
    """x / sqrt(mean square + epsilon) * scale over the axes from `axis` on.

    In float16 squares overflow beyond 256. There it is a `layer_norm` of x beside -x, of which the mean is 0 and the
    variance the mean square of x; the half that stems from x is kept.
    """
    x, y, scale = node.inputs[0], node.outputs[0], node.inputs[1]
    assert x is not None
    assert scale is not None
    _float32_only(node)
    shape, epsilon = ctx.shape(x), get_float(node, "epsilon", 1e-5)
    axis = get_int(node, "axis", -1) % len(shape)
    axes, data = list(range(axis, len(shape))), ctx.read(x)
    if ctx.width == "float32":
        square = ctx.emit("reduce_mean", x=ctx.emit("square", x=data), axes=axes, keep_dims=True)
        normal = ctx.emit("mul", x=data, y=ctx.emit("rsqrt", x=square, epsilon=ctx.number(epsilon)))
    else:
        both = ctx.emit("concat", values=(data, ctx.emit("mul", x=data, y=ctx.number(-1))), axis=np.int32(axis))
        whole = _layer_norm(ctx, both, axes, epsilon, None, None)
        begin, size = np.zeros(len(shape), np.int32), np.asarray(shape, np.int32)
        normal = ctx.emit("slice_by_size", x=whole, begin=begin, size=size)
    ctx.bind(y, ctx.emit("mul", x=normal, y=ctx.read(scale)))


@lowers("InstanceNormalization", attributes=("epsilon",), inputs=3)
def instance_normalization(ctx: Context, node: ir.Node) -> None:
    """`instance_norm`, which knows one or two spatial axes: three are seen as one."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape = ctx.shape(x)
    view = shape if len(shape) in (3, 4) else (*shape[:2], math.prod(shape[2:]))
    data = ctx.reshape(ctx.read(x), view)
    terms = [ctx.constant(v) for v in node.inputs[1:3]]
    whole = all(t is not None for t in terms)
    names = ("gamma", "beta")
    constants: dict[str, Any] = {
        n: ctx.floating(t) for n, t in zip(names, terms, strict=True) if t is not None and whole
    }
    out = ctx.emit("instance_norm", x=data, epsilon=_epsilon(ctx, get_float(node, "epsilon", 1e-5)), **constants)
    out = ctx.reshape(out, shape)
    ctx.bind(y, out if whole else _by_channel(ctx, node, out))


@lowers("GroupNormalization", attributes=("epsilon", "num_groups", "stash_type"), inputs=3)
def group_normalization(ctx: Context, node: ir.Node) -> None:
    """`instance_norm` of groups of channels, then scale and bias by channel."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    _float32_only(node)
    shape, groups = ctx.shape(x), get_int(node, "num_groups", 1)
    last = shape[-1] if len(shape) > 2 else 1
    data = ctx.reshape(ctx.read(x), (shape[0], groups, math.prod(shape[1:]) // groups // last, last))
    normal = ctx.emit("instance_norm", x=data, epsilon=_epsilon(ctx, get_float(node, "epsilon", 1e-5)))
    ctx.bind(y, _by_channel(ctx, node, ctx.reshape(normal, shape)))


@lowers("BatchNormalization", attributes=("epsilon", "momentum", "training_mode"), inputs=5)
def batch_normalization(ctx: Context, node: ir.Node) -> None:
    """`batch_norm` where its statistics are constants (`momentum` matters in training only)."""
    if get_int(node, "training_mode", 0):
        raise Refused("training_mode=1 is not supported", "export the model in evaluation mode")
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    shape, epsilon = ctx.shape(x), get_float(node, "epsilon", 1e-5)
    constants = [c for v in node.inputs[1:5] if (c := ctx.constant(v)) is not None]
    if len(constants) < 4:
        column = (shape[1], *(1,) * (len(shape) - 2))
        scale, bias, mean, variance = (ctx.reshape(ctx.read(v), column) for v in node.inputs[1:5])
        inverse = ctx.emit("rsqrt", x=variance, epsilon=ctx.number(epsilon))
        centred = ctx.emit("sub", x=ctx.read(x), y=mean)
        scaled = ctx.emit("mul", x=centred, y=ctx.emit("mul", x=scale, y=inverse))
        ctx.bind(y, ctx.emit("add", x=scaled, y=bias))
        return
    if float(constants[3].min()) + epsilon < _LEAST_NORMAL:
        ctx.width = "float32"
    names = ("gamma", "beta", "mean", "variance")
    inputs: dict[str, Any] = {n: ctx.floating(c) for n, c in zip(names, constants, strict=True)}
    view = shape if len(shape) in (3, 4, 5) else (shape[0], shape[1], math.prod(shape[2:]))
    data = ctx.reshape(ctx.read(x), view)
    ctx.bind(y, ctx.reshape(ctx.emit("batch_norm", x=data, epsilon=_epsilon(ctx, epsilon), **inputs), shape))


@lowers("LpNormalization", attributes=("axis", "p"))
def lp_normalization(ctx: Context, node: ir.Node) -> None:
    """x / norm along an axis, 0 where the norm is 0."""
    x = node.inputs[0]
    assert x is not None
    kind = {1: "reduce_l1_norm", 2: "reduce_l2_norm"}.get(get_int(node, "p", 2))
    if kind is None:
        raise Refused(f"p={get_int(node, 'p', 2)} is not supported; 1 and 2 are")
    data, axes = ctx.read(x), [get_int(node, "axis", -1) % ctx.rank(x)]
    if kind == "reduce_l2_norm" and ctx.width == "float16":
        data, _ = over_largest(ctx, data, axes)
    norm = ctx.emit(kind, x=data, axes=axes, keep_dims=True)
    zero = ctx.emit("equal", x=norm, y=ctx.number(0))
    below = ctx.emit("select", cond=zero, a=ctx.number(1), b=norm)
    ctx.bind(node.outputs[0], ctx.emit("real_div", x=data, y=below))


def _layer_norm(
    ctx: Context, data: Var, axes: Sequence[int], epsilon: float, gamma: Array | None, beta: Array | None
) -> Var:
    terms: dict[str, Any] = {n: ctx.floating(t) for n, t in (("gamma", gamma), ("beta", beta)) if t is not None}
    return ctx.emit("layer_norm", x=data, axes=np.asarray(axes, np.int32), epsilon=_epsilon(ctx, epsilon), **terms)


def _epsilon(ctx: Context, epsilon: float) -> Any:
    """As the current node's floats hold it; float16 makes 0 of 1e-12, and rows of equal numbers divide by it."""
    return ctx.number(epsilon if ctx.width == "float32" else max(epsilon, LEAST_HALF))


def _whole(ctx: Context, value: ir.Value | None, shape: tuple[int, ...]) -> Array | None:
    """A constant that broadcasts to the normalized axes, as large as they are; None if there is none like that."""
    data = ctx.constant(value)
    if data is None:
        return None
    while data.ndim > len(shape) and data.shape[0] == 1:
        data = data[0]
    return np.broadcast_to(data, shape) if data.ndim <= len(shape) else None


def _by_channel(ctx: Context, node: ir.Node, normal: Var) -> Var:
    """normal * inputs[1] + inputs[2], both [C]."""
    column = (normal.shape[1], *(1,) * (len(normal.shape) - 2))
    scale, bias = (ctx.reshape(ctx.read(v), column) for v in node.inputs[1:3])
    return ctx.emit("add", x=ctx.emit("mul", x=normal, y=scale), y=bias)


def _float32_only(node: ir.Node) -> None:
    if get_int(node, "stash_type", 1) != 1:
        raise Refused("stash_type other than 1 (float32) is not supported")

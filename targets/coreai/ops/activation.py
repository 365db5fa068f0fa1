"""Activations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, get_str
from edgeport.sample import Array
from edgeport.targets.coreai import elements as e
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import argmax, reduce, softmax, total
from edgeport.targets.coreai.ops.elementwise import floats, function
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import Refused, lowers

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of ONNX Selu-22."""


@lowers("Relu")
def relu(ctx: Context, node: ir.Node) -> None:
    """Not below 0."""
    x = ctx.read(node, 0)
    ctx.bind(node, e.relu(x) if x.is_float else e.maximum(x, 0))


@lowers("Clip", inputs=3)
def clip(ctx: Context, node: ir.Node) -> None:
    """The upper bound comes last, so that it holds where the bounds are crossed."""
    x, low, high = ctx.read(node, 0), ctx.optional(node, 1), ctx.optional(node, 2)
    x = x if low is None else e.maximum(x, low)
    ctx.bind(node, x if high is None else e.minimum(x, high))


def _sloped(x: Tensor, slope: Tensor | float) -> Tensor:
    return e.where(x > 0, x, x * slope)


@lowers("LeakyRelu", attributes=("alpha",))
def leaky_relu(ctx: Context, node: ir.Node) -> None:
    """A constant slope below 0."""
    x = ctx.read(node, 0)
    floats(node, x)
    ctx.bind(node, _sloped(x, get_float(node, "alpha", 0.01)))


@lowers("PRelu", inputs=2)
def prelu(ctx: Context, node: ir.Node) -> None:
    """A slope below 0 that is a tensor."""
    ctx.bind(node, _sloped(ctx.read(node, 0), ctx.read(node, 1)))


@lowers("ThresholdedRelu", attributes=("alpha",))
def thresholded_relu(ctx: Context, node: ir.Node) -> None:
    """0 up to a threshold."""
    x = ctx.read(node, 0)
    floats(node, x)
    ctx.bind(node, e.where(x > get_float(node, "alpha", 1.0), x, 0))


@lowers("Elu", attributes=("alpha",))
def elu(ctx: Context, node: ir.Node) -> None:
    """alpha (exp(x) - 1) below 0."""
    x = ctx.read(node, 0)
    floats(node, x)
    ctx.bind(node, e.relu(x) + e.expm1(e.minimum(x, 0)) * get_float(node, "alpha", 1.0))


@lowers("Celu", attributes=("alpha",))
def celu(ctx: Context, node: ir.Node) -> None:
    """alpha (exp(x / alpha) - 1) below 0."""
    x, alpha = ctx.read(node, 0), get_float(node, "alpha", 1.0)
    floats(node, x)
    if alpha <= 0:
        raise Refused(f"alpha={alpha} is not supported; it must be positive")
    ctx.bind(node, e.relu(x) + e.expm1(e.minimum(x, 0) / alpha) * alpha)


@lowers("Selu", attributes=("alpha", "gamma"))
def selu(ctx: Context, node: ir.Node) -> None:
    """gamma times an Elu."""
    x = ctx.read(node, 0)
    floats(node, x)
    alpha, gamma = get_float(node, "alpha", _SELU_ALPHA), get_float(node, "gamma", _SELU_GAMMA)
    ctx.bind(node, (e.relu(x) + e.expm1(e.minimum(x, 0)) * alpha) * gamma)


@lowers("HardSigmoid", attributes=("alpha", "beta"))
def hard_sigmoid(ctx: Context, node: ir.Node) -> None:
    """A line between 0 and 1."""
    x = ctx.read(node, 0)
    floats(node, x)
    ctx.bind(node, e.clamp(x * get_float(node, "alpha", 0.2) + get_float(node, "beta", 0.5), 0, 1))


lowers("HardSwish")(function(lambda x: x * e.clamp(x * (1 / 6) + 0.5, 0, 1)))
lowers("Mish")(function(lambda x: x * e.tanh(e.softplus(x))))


@lowers("Swish", attributes=("alpha",))
def swish(ctx: Context, node: ir.Node) -> None:
    """x sigmoid(alpha x)."""
    x, alpha = ctx.read(node, 0), get_float(node, "alpha", 1.0)
    floats(node, x)
    ctx.bind(node, e.unary("silu", x) if alpha == 1 else x * e.sigmoid(x * alpha))


@lowers("Gelu", attributes=("approximate",))
def gelu(ctx: Context, node: ir.Node) -> None:
    """Core AI has both forms."""
    x, form = ctx.read(node, 0), get_str(node, "approximate", "none")
    floats(node, x)
    if form not in ("none", "tanh"):
        raise Refused(f"approximate={form!r} is unknown")
    ctx.bind(node, x.builder.step("gelu", [x], x.shape, x.dtype, **({"approximate": form} if form == "tanh" else {})))


@lowers("Shrink", attributes=("bias", "lambd"))
def shrink(ctx: Context, node: ir.Node) -> None:
    """0 around 0, and moved towards it elsewhere."""
    x, bias, limit = ctx.read(node, 0), get_float(node, "bias", 0.0), get_float(node, "lambd", 0.5)
    floats(node, x)
    ctx.bind(node, e.where(x < -limit, x + bias, e.where(x > limit, x - bias, 0)))


@lowers("Softmax", attributes=("axis",))
def soft_max(ctx: Context, node: ir.Node) -> None:
    """Core AI's own."""
    x = ctx.read(node, 0)
    floats(node, x)
    ctx.bind(node, softmax(x, get_int(node, "axis", -1)))


@lowers("LogSoftmax", attributes=("axis",))
def log_softmax(ctx: Context, node: ir.Node) -> None:
    """x - max - log(sum(exp(x - max))), which is exact where the softmax itself is 0."""
    x, axis = ctx.read(node, 0), get_int(node, "axis", -1)
    floats(node, x)
    shifted = x - reduce("reduce_max", x, [axis])
    ctx.bind(node, shifted - e.log(total(e.exp(shifted), [axis])))


@lowers("Hardmax", attributes=("axis",))
def hardmax(ctx: Context, node: ir.Node) -> None:
    """1 at the first of the largest."""
    x, axis = ctx.read(node, 0), get_int(node, "axis", -1) % len(ctx.shape(node.outputs[0]))
    floats(node, x)
    places = x.builder.constant(_numbers(x.shape, axis))
    ctx.bind(node, e.raw_cast(e.equal(places, argmax(x, axis)), x.dtype))


def _numbers(shape: tuple[int, ...], axis: int) -> Array:
    return np.arange(shape[axis], dtype=np.int32).reshape([-1 if a == axis else 1 for a in range(len(shape))])

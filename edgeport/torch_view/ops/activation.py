"""Activations."""

from __future__ import annotations

import onnx_ir as ir
import torch
import torch.nn.functional as F
from torch import Tensor

from edgeport.passes.edit import get_float, get_int, get_str
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats, function
from edgeport.torch_view.ops.integers import ordered, wrapped
from edgeport.torch_view.registry import Refused, lowers

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of ONNX Selu-22."""


@lowers("Relu")
def relu(ctx: Context, node: ir.Node) -> None:
    """Not below 0."""
    ctx.bind(node, torch.relu(ctx.read(node, 0)))


@lowers("Clip", inputs=3)
def clip(ctx: Context, node: ir.Node) -> None:
    """The upper bound holds where the bounds are crossed."""
    bounds = [ctx.constant_of(node.inputs[i]) if ctx.has(node, i) else None for i in (1, 2)]
    known = all(data is not None or not ctx.has(node, i) for i, data in enumerate(bounds, 1))
    if known and ctx.input_dtype(node) != "uint64":
        low, high = (None if data is None else data.reshape(()).item() for data in bounds)
        x = ctx.read(node, 0)
        ctx.bind(node, x if low is None and high is None else torch.clamp(x, low, high))
        return
    made = ordered(ctx, node.inputs[0], ctx.read(node, 0))
    for index, form in ((1, torch.maximum), (2, torch.minimum)):
        bound = ctx.optional(node, index)
        if bound is not None:
            made = form(made, ordered(ctx, node.inputs[index], bound))
    ctx.bind(node, ordered(ctx, node.outputs[0], made))


@lowers("LeakyRelu", attributes=("alpha",))
def leaky_relu(ctx: Context, node: ir.Node) -> None:
    """A constant slope below 0."""
    floats(ctx, node)
    ctx.bind(node, F.leaky_relu(ctx.read(node, 0), get_float(node, "alpha", 0.01)))


@lowers("PRelu", inputs=2)
def prelu(ctx: Context, node: ir.Node) -> None:
    """A slope below 0 that is a tensor of any shape that broadcasts, where torch's own has one number a channel."""
    x = ctx.read(node, 0)
    sloped = wrapped(ctx, node.outputs[0], torch.mul(x, ctx.read(node, 1)))
    positive = torch.ne(x, 0) if ctx.input_dtype(node) == "uint64" else torch.gt(x, 0)
    ctx.bind(node, torch.where(positive, x, sloped))


@lowers("ThresholdedRelu", attributes=("alpha",))
def thresholded_relu(ctx: Context, node: ir.Node) -> None:
    """0 up to a threshold."""
    floats(ctx, node)
    ctx.bind(node, torch.threshold(ctx.read(node, 0), get_float(node, "alpha", 1.0), 0.0))


def _elu(x: Tensor, alpha: float, scale: float = 1.0) -> Tensor:
    made: Tensor = torch.ops.aten.elu(x, alpha, scale, 1.0)
    return made


@lowers("Elu", attributes=("alpha",))
def elu(ctx: Context, node: ir.Node) -> None:
    """alpha (exp(x) - 1) below 0."""
    floats(ctx, node)
    ctx.bind(node, _elu(ctx.read(node, 0), get_float(node, "alpha", 1.0)))


@lowers("Selu", attributes=("alpha", "gamma"))
def selu(ctx: Context, node: ir.Node) -> None:
    """gamma times an Elu."""
    floats(ctx, node)
    alpha, gamma = get_float(node, "alpha", _SELU_ALPHA), get_float(node, "gamma", _SELU_GAMMA)
    ctx.bind(node, _elu(ctx.read(node, 0), alpha, gamma))


@lowers("Celu", attributes=("alpha",))
def celu(ctx: Context, node: ir.Node) -> None:
    """alpha (exp(x / alpha) - 1) below 0."""
    alpha = get_float(node, "alpha", 1.0)
    floats(ctx, node)
    if alpha <= 0:
        raise Refused(f"alpha={alpha} is not supported; it must be positive")
    ctx.bind(node, torch.celu(ctx.read(node, 0), alpha))


@lowers("HardSigmoid", attributes=("alpha", "beta"))
def hard_sigmoid(ctx: Context, node: ir.Node) -> None:
    """A line between 0 and 1; torch's own has slope 1/6."""
    floats(ctx, node)
    x, alpha, beta = ctx.read(node, 0), get_float(node, "alpha", 0.2), get_float(node, "beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        ctx.bind(node, F.hardsigmoid(x))
    else:
        ctx.bind(node, torch.clamp(torch.add(torch.mul(x, alpha), beta), 0.0, 1.0))


# Beyond 40 the logarithm rounds to its argument even in double precision; torch's default of 20 would not do there.
lowers("Softplus")(function(lambda x: F.softplus(x, 1.0, 40.0)))
lowers("Softsign")(function(lambda x: torch.div(x, torch.add(torch.abs(x), 1.0))))
lowers("Sigmoid")(function(torch.sigmoid))
lowers("Tanh")(function(torch.tanh))
lowers("HardSwish")(function(F.hardswish))
lowers("Mish")(function(F.mish))


@lowers("Swish", attributes=("alpha",))
def swish(ctx: Context, node: ir.Node) -> None:
    """x sigmoid(alpha x)."""
    floats(ctx, node)
    x, alpha = ctx.read(node, 0), get_float(node, "alpha", 1.0)
    ctx.bind(node, F.silu(x) if alpha == 1 else torch.mul(x, torch.sigmoid(torch.mul(x, alpha))))


@lowers("Gelu", attributes=("approximate",))
def gelu(ctx: Context, node: ir.Node) -> None:
    """torch has both forms."""
    floats(ctx, node)
    form = get_str(node, "approximate", "none")
    if form not in ("none", "tanh"):
        raise Refused(f"approximate={form!r} is unknown")
    ctx.bind(node, F.gelu(ctx.read(node, 0), approximate=form))


@lowers("Shrink", attributes=("bias", "lambd"))
def shrink(ctx: Context, node: ir.Node) -> None:
    """0 around 0, and moved towards it elsewhere."""
    floats(ctx, node)
    x, bias, limit = ctx.read(node, 0), get_float(node, "bias", 0.0), get_float(node, "lambd", 0.5)
    above = torch.where(torch.gt(x, limit), torch.sub(x, bias), torch.zeros_like(x))
    ctx.bind(node, torch.where(torch.lt(x, -limit), torch.add(x, bias), above))


@lowers("Softmax", "LogSoftmax", attributes=("axis",))
def softmax(ctx: Context, node: ir.Node) -> None:
    """Along one axis."""
    floats(ctx, node)
    x, axis = ctx.read(node, 0), get_int(node, "axis", -1)
    ctx.bind(node, torch.softmax(x, axis) if node.op_type == "Softmax" else torch.log_softmax(x, axis))


@lowers("Hardmax", attributes=("axis",))
def hardmax(ctx: Context, node: ir.Node) -> None:
    """1 at the first of the largest."""
    floats(ctx, node)
    x, axis = ctx.read(node, 0), get_int(node, "axis", -1)
    ctx.bind(node, torch.scatter(torch.zeros_like(x), axis, torch.argmax(x, axis, True), 1.0))

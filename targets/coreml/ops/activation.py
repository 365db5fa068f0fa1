"""Activations, each as one MIL operation where there is one: the Neural Engine wants them whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, get_str
from edgeport.sample import Array
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.registry import Refused, lowers


def _x(ctx: Context, node: ir.Node) -> Var:
    if ctx.mil_dtype(node.outputs[0]) == "int32":
        raise Refused(f"{node.op_type} of integers is not supported", "cast to float32", "unsupported-dtype")
    return ctx.read(node.inputs[0])


@lowers("HardSigmoid", attributes=("alpha", "beta"))
def hard_sigmoid(ctx: Context, node: ir.Node) -> None:
    """`sigmoid_hard`."""
    alpha, beta = ctx.number(get_float(node, "alpha", 0.2)), ctx.number(get_float(node, "beta", 0.5))
    ctx.bind(node.outputs[0], ctx.emit("sigmoid_hard", x=_x(ctx, node), alpha=alpha, beta=beta))


@lowers("HardSwish")
def hard_swish(ctx: Context, node: ir.Node) -> None:
    """x * `sigmoid_hard`."""
    x = _x(ctx, node)
    gate = ctx.emit("sigmoid_hard", x=x, alpha=ctx.number(1 / 6), beta=ctx.number(0.5))
    ctx.bind(node.outputs[0], ctx.emit("mul", x=x, y=gate))


@lowers("Elu", attributes=("alpha",))
def elu(ctx: Context, node: ir.Node) -> None:
    """`elu`."""
    alpha = ctx.number(get_float(node, "alpha", 1.0))
    ctx.bind(node.outputs[0], ctx.emit("elu", x=_x(ctx, node), alpha=alpha))


@lowers("Selu", attributes=("alpha", "gamma"))
def selu(ctx: Context, node: ir.Node) -> None:
    """gamma * `elu`."""
    alpha, gamma = get_float(node, "alpha", 1.67326319217681884765625), get_float(node, "gamma", 1.0507010221481323)
    bent = ctx.emit("elu", x=_x(ctx, node), alpha=ctx.number(alpha))
    ctx.bind(node.outputs[0], ctx.emit("mul", x=bent, y=ctx.number(gamma)))


@lowers("Celu", attributes=("alpha",))
def celu(ctx: Context, node: ir.Node) -> None:
    """`elu`; with alpha other than 1 as relu(x) + alpha * elu(min(x, 0) / alpha)."""
    x, alpha = _x(ctx, node), get_float(node, "alpha", 1.0)
    if alpha <= 0:
        raise Refused(f"alpha={alpha} is not above 0")
    if alpha == 1:
        ctx.bind(node.outputs[0], ctx.emit("elu", x=x, alpha=ctx.number(1)))
        return
    below = ctx.emit("mul", x=ctx.emit("minimum", x=x, y=ctx.number(0)), y=ctx.number(1 / alpha))
    bent = ctx.emit("mul", x=ctx.emit("elu", x=below, alpha=ctx.number(1)), y=ctx.number(alpha))
    ctx.bind(node.outputs[0], ctx.emit("add", x=ctx.emit("relu", x=x), y=bent))


@lowers("Gelu", attributes=("approximate",))
def gelu(ctx: Context, node: ir.Node) -> None:
    """`gelu`, exact or by tanh."""
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    approximate = get_str(node, "approximate", "none")
    if approximate not in modes:
        raise Refused(f"approximate={approximate!r} is unknown")
    ctx.bind(node.outputs[0], ctx.emit("gelu", x=_x(ctx, node), mode=modes[approximate]))


@lowers("Swish", attributes=("alpha",))
def swish(ctx: Context, node: ir.Node) -> None:
    """`silu`; with alpha other than 1 as x * sigmoid(alpha * x)."""
    x, alpha = _x(ctx, node), get_float(node, "alpha", 1.0)
    if alpha == 1:
        ctx.bind(node.outputs[0], ctx.emit("silu", x=x))
        return
    gate = ctx.emit("sigmoid", x=ctx.emit("mul", x=x, y=ctx.number(alpha)))
    ctx.bind(node.outputs[0], ctx.emit("mul", x=x, y=gate))


@lowers("LeakyRelu", attributes=("alpha",))
def leaky_relu(ctx: Context, node: ir.Node) -> None:
    """`leaky_relu`."""
    alpha = ctx.number(get_float(node, "alpha", 0.01))
    ctx.bind(node.outputs[0], ctx.emit("leaky_relu", x=_x(ctx, node), alpha=alpha))


@lowers("PRelu", inputs=2)
def prelu(ctx: Context, node: ir.Node) -> None:
    """`leaky_relu` or `prelu` where the slope is one number or one a channel, else max(x, 0) + slope * min(x, 0)."""
    x, slope = ctx.read(node.inputs[0]), node.inputs[1]
    assert slope is not None
    slopes, y = ctx.constant(slope), node.outputs[0]
    whole = ctx.mil_dtype(y) == "int32"
    if slopes is not None and slopes.size == 1 and not whole:
        ctx.bind(y, ctx.emit("leaky_relu", x=x, alpha=ctx.number(float(slopes.reshape(-1)[0]))))
    elif slopes is not None and len(x.shape) == 4 and _is_per_channel(slopes, x.shape[1]) and not whole:
        ctx.bind(y, ctx.emit("prelu", x=x, alpha=ctx.floating(slopes.reshape(-1))))
    else:
        zero = np.int32(0) if whole else ctx.number(0)
        below = ctx.emit("mul", x=ctx.emit("minimum", x=x, y=zero), y=ctx.read(slope))
        ctx.bind(y, ctx.emit("add", x=ctx.emit("maximum", x=x, y=zero), y=below))


def _is_per_channel(slopes: Array, channels: int) -> bool:
    return slopes.size == channels and (1, *slopes.shape)[-3:] == (channels, 1, 1)


@lowers("Softplus")
def softplus(ctx: Context, node: ir.Node) -> None:
    """relu(x) + `softplus`(-|x|)."""
    ctx.bind(node.outputs[0], _softplus(ctx, _x(ctx, node)))


def _softplus(ctx: Context, x: Var) -> Var:
    """MIL's own is for negative numbers only: above 10.4 it overflows on the Neural Engine, which then gives 0."""
    below = ctx.emit("mul", x=ctx.emit("abs", x=x), y=ctx.number(-1))
    return ctx.emit("add", x=ctx.emit("relu", x=x), y=ctx.emit("softplus", x=below))


@lowers("Mish")
def mish(ctx: Context, node: ir.Node) -> None:
    """x * tanh(softplus(x))."""
    x = _x(ctx, node)
    ctx.bind(node.outputs[0], ctx.emit("mul", x=x, y=ctx.emit("tanh", x=_softplus(ctx, x))))


@lowers("ThresholdedRelu", attributes=("alpha",))
def thresholded_relu(ctx: Context, node: ir.Node) -> None:
    """x where x > alpha, else 0: MIL's `thresholded_relu` keeps alpha itself as well."""
    x, alpha = _x(ctx, node), ctx.number(get_float(node, "alpha", 1.0))
    above = ctx.emit("greater", x=x, y=alpha)
    ctx.bind(node.outputs[0], ctx.emit("select", cond=above, a=x, b=ctx.number(0)))


@lowers("Shrink", attributes=("bias", "lambd"))
def shrink(ctx: Context, node: ir.Node) -> None:
    """x - bias above lambd, x + bias below -lambd, 0 between."""
    x = _x(ctx, node)
    bias, limit = ctx.number(get_float(node, "bias", 0.0)), get_float(node, "lambd", 0.5)
    above, below = ctx.emit("greater", x=x, y=ctx.number(limit)), ctx.emit("less", x=x, y=ctx.number(-limit))
    low = ctx.emit("select", cond=below, a=ctx.emit("add", x=x, y=bias), b=ctx.number(0))
    ctx.bind(node.outputs[0], ctx.emit("select", cond=above, a=ctx.emit("sub", x=x, y=bias), b=low))


@lowers("Softmax", attributes=("axis",))
def softmax(ctx: Context, node: ir.Node) -> None:
    """`softmax`."""
    ctx.bind(node.outputs[0], ctx.emit("softmax", x=_x(ctx, node), axis=np.int32(get_int(node, "axis", -1))))


@lowers("LogSoftmax", attributes=("axis",))
def log_softmax(ctx: Context, node: ir.Node) -> None:
    """x - max - log(sum(exp(x - max)))."""
    x, axes = _x(ctx, node), [get_int(node, "axis", -1)]
    below = ctx.emit("sub", x=x, y=ctx.emit("reduce_max", x=x, axes=axes, keep_dims=True))
    total = ctx.emit("reduce_sum", x=ctx.emit("exp", x=below), axes=axes, keep_dims=True)
    ctx.bind(node.outputs[0], ctx.emit("sub", x=below, y=ctx.emit("log", x=total, epsilon=ctx.number(0))))

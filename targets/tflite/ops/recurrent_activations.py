"""The activation functions of LSTM, GRU and RNN."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.recurrent_activations import Activation
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context


def activate(ctx: Context, y: ir.Value, x: Tensor, function: Activation) -> Tensor:
    """Applies a function, element by element."""
    alpha, beta = function.alpha, function.beta
    match function.name:
        case "sigmoid":
            return ctx.step(y, "LOGISTIC", [x])
        case "tanh":
            return ctx.step(y, "TANH", [x])
        case "relu":
            return ctx.step(y, "RELU", [x])
        case "leakyrelu":
            return ctx.step(y, "LEAKY_RELU", [x], "LeakyReluOptions", alpha=alpha)
        case "affine":
            return ctx.step(y, "ADD", [_times(ctx, y, x, alpha), ctx.number(beta)], "AddOptions")
        case "scaledtanh":
            return _times(ctx, y, ctx.step(y, "TANH", [_times(ctx, y, x, beta)]), alpha)
        case "hardsigmoid":
            line = ctx.step(y, "ADD", [_times(ctx, y, x, alpha), ctx.number(beta)], "AddOptions")
            return clamped(ctx, y, line, 0.0, 1.0)
        case "elu":
            positive = ctx.step(y, "RELU", [x])
            negative = ctx.step(y, "MINIMUM", [x, ctx.number(0)], "MaximumMinimumOptions")
            return ctx.step(y, "ADD", [positive, _times(ctx, y, ctx.step(y, "ELU", [negative]), alpha)], "AddOptions")
        case "thresholdedrelu":
            above = ctx.step(y, "GREATER", [x, ctx.number(alpha)], "GreaterOptions", dtype="bool")
            zeros = ctx.number(0)
            return ctx.step(y, "SELECT_V2", [above, x, zeros], "SelectV2Options", dtype="float32")
        case "softsign":
            size = ctx.step(y, "ADD", [ctx.step(y, "ABS", [x]), ctx.number(1)], "AddOptions")
            return ctx.step(y, "DIV", [x, size], "DivOptions")
        case "softplus":
            return _softplus(ctx, y, x)
        case _:
            raise AssertionError(function.name)


def clamped(ctx: Context, y: ir.Value, x: Tensor, low: float, high: float) -> Tensor:
    """min(max(x, low), high)."""
    raised = ctx.step(y, "MAXIMUM", [x, ctx.number(low)], "MaximumMinimumOptions")
    return ctx.step(y, "MINIMUM", [raised, ctx.number(high)], "MaximumMinimumOptions")


def _times(ctx: Context, y: ir.Value, x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else ctx.step(y, "MUL", [x, ctx.number(factor)], "MulOptions")


def _softplus(ctx: Context, y: ir.Value, x: Tensor) -> Tensor:
    """RELU(x) + LOG(1 + EXP(-|x|)), which does not overflow."""
    power = ctx.step(y, "EXP", [ctx.step(y, "NEG", [ctx.step(y, "ABS", [x])])])
    tail = ctx.step(y, "LOG", [ctx.step(y, "ADD", [power, ctx.number(1)], "AddOptions")])
    return ctx.step(y, "ADD", [ctx.step(y, "RELU", [x]), tail], "AddOptions")

"""The activation functions that LSTM, GRU and RNN name in their `activations` attribute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx_ir as ir

from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.registry import Refused


class Activation(NamedTuple):
    """A function with its factors; `beta` and `alpha` are 0 where the function has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


_DEFAULTS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
}
"""Factors that each function takes, None for one that it does not have."""
_NO_DEFAULT = frozenset({"affine", "scaledtanh"})
"""ONNX gives these no default factors."""


def activations(node: ir.Node, default: Sequence[str], directions: int) -> list[tuple[Activation, ...]]:
    """The functions of each direction, in the order of the gates that use them.

    `activation_alpha` and `activation_beta` are consumed in the order of the functions that have such a factor.

    Raises:
        Refused: an unknown function, a missing factor, or a list of another length.
    """
    attribute = node.attributes.get("activations")
    names = list(default) * directions if attribute is None else list(attribute.as_strings())
    if len(names) != len(default) * directions:
        raise Refused(f"activations lists {len(names)} functions, {len(default) * directions} are needed")
    alphas, betas = _factors(node, "activation_alpha"), _factors(node, "activation_beta")
    found = [_activation(name, alphas, betas) for name in names]
    width = len(default)
    return [tuple(found[d * width : (d + 1) * width]) for d in range(directions)]


def _factors(node: ir.Node, name: str) -> Iterator[float]:
    attribute = node.attributes.get(name)
    return iter(()) if attribute is None else iter(attribute.as_floats())


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    key = name.lower()
    if key not in _DEFAULTS:
        raise Refused(f"activation {name!r} is unknown")
    given = []
    for factors, default in zip((alphas, betas), _DEFAULTS[key], strict=True):
        factor = 0.0 if default is None else next(factors, None)
        if factor is None and key in _NO_DEFAULT:
            raise Refused(f"activation {name!r} needs both activation_alpha and activation_beta")
        given.append(default or 0.0 if factor is None else factor)
    return Activation(key, *given)


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

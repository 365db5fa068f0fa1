"""Activations, element by element, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.erf import erf
from edgeport.targets.coreml.evaluator.registry import Array, EvaluationError, evaluates


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); exp overflows to inf for large negative numbers, which gives the right 0."""
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def softplus(x: Array) -> Array:
    """log(1 + exp(x)) without overflow."""
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


_SIMPLE: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: x.clip(0, 6),
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
}

_WITH_ALPHA: dict[str, Callable[[Array, Array], Array]] = {
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, alpha: np.where(x >= 0, x, alpha * x),
    "thresholded_relu": lambda x, alpha: np.where(x >= alpha, x, np.float32(0)),
}

_WITH_ALPHA_AND_BETA: dict[str, Callable[[Array, Array, Array], Array]] = {
    "clamped_relu": lambda x, alpha, beta: np.minimum(np.where(x >= 0, x, alpha * x), beta),
    "linear_activation": lambda x, alpha, beta: x * alpha + beta,
    "scaled_tanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid_hard": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
}


@evaluates(*_SIMPLE)
def simple(call: Call) -> Array:
    """An activation without parameters."""
    return _SIMPLE[call.kind](call.array("x"))


@evaluates(*_WITH_ALPHA)
def with_alpha(call: Call) -> Array:
    """An activation with one parameter."""
    return _WITH_ALPHA[call.kind](call.array("x"), call.array("alpha"))


@evaluates(*_WITH_ALPHA_AND_BETA)
def with_alpha_and_beta(call: Call) -> Array:
    """An activation with two parameters."""
    return _WITH_ALPHA_AND_BETA[call.kind](call.array("x"), call.array("alpha"), call.array("beta"))


def _by_channel(call: Call, name: str, rank: int) -> Array:
    """A parameter of one number a channel, shaped to broadcast along axis 1."""
    return call.array(name).reshape(-1, *[1] * (rank - 2))


@evaluates("prelu")
def prelu(call: Call) -> Array:
    """X where it is positive, otherwise alpha of its channel times x."""
    x = call.array("x")
    return np.where(x > 0, x, _by_channel(call, "alpha", x.ndim) * x)


@evaluates("softplus_parametric")
def softplus_parametric(call: Call) -> Array:
    """Alpha times log(1 + exp(beta x)), both of the channel."""
    x = call.array("x")
    return _by_channel(call, "alpha", x.ndim) * softplus(_by_channel(call, "beta", x.ndim) * x)


@evaluates("gelu")
def gelu(call: Call) -> Array:
    """Gaussian error linear unit in its three modes."""
    x, mode = call.array("x"), call.text("mode", "EXACT")
    share: Array
    if mode == "EXACT":
        share = np.float32(0.5) * (1 + erf(x * np.float32(math.sqrt(0.5))))
    elif mode == "TANH_APPROXIMATION":
        share = np.float32(0.5) * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))
    elif mode == "SIGMOID_APPROXIMATION":
        share = sigmoid(np.float32(1.702) * x)
    else:
        raise EvaluationError(f"unknown mode {mode!r}")
    return x * share


@evaluates("softmax")
def softmax(call: Call) -> Array:
    """exp(x) over its sum along `axis`, computed from differences to the largest."""
    x, axis = call.array("x"), call.integer("axis", -1)
    result: Array = np.asarray(x - x.max(axis=axis, keepdims=True))
    np.exp(result, out=result)
    result /= result.sum(axis=axis, keepdims=True)
    return result

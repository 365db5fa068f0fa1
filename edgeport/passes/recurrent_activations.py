"""Reads the activation functions that LSTM, GRU and RNN name in their `activations` attribute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir


class Activation(NamedTuple):
    """A function, its name in lower case, with its factors; they are 0 where the function has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0


_DEFAULT = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_FACTORS: dict[str, tuple[float | None, float | None]] = {
    "relu": (None, None),
    "tanh": (None, None),
    "sigmoid": (None, None),
    "softsign": (None, None),
    "softplus": (None, None),
    "leakyrelu": (0.01, None),
    "thresholdedrelu": (1.0, None),
    "elu": (1.0, None),
    "hardsigmoid": (0.2, 0.5),
    "affine": (None, None),
    "scaledtanh": (None, None),
}
"""Default alpha and beta of each function; None: it has no such factor, or (the last two) needs it given."""
_BOTH_NEEDED = frozenset({"affine", "scaledtanh"})


def activations(node: ir.Node, directions: int) -> tuple[tuple[Activation, ...], ...]:
    """The functions of each direction, in the order of the gates that use them (ONNX LSTM-22, GRU-22, RNN-22).

    `activation_alpha` and `activation_beta` are consumed in the order of the functions that have such a factor.

    Raises:
        ValueError: an unknown function, a missing factor, or a list of another length.
    """
    attribute, default = node.attributes.get("activations"), _DEFAULT[node.op_type]
    names = list(default) * directions if attribute is None else list(attribute.as_strings())
    if len(names) != len(default) * directions:
        raise ValueError(f"activations lists {len(names)} functions, {len(default) * directions} are needed")
    alphas, betas = _given(node, "activation_alpha"), _given(node, "activation_beta")
    found = [_activation(name, alphas, betas) for name in names]
    width = len(default)
    return tuple(tuple(found[d * width : (d + 1) * width]) for d in range(directions))


def _given(node: ir.Node, name: str) -> Iterator[float]:
    attribute = node.attributes.get(name)
    return iter(()) if attribute is None else iter(attribute.as_floats())


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    key = name.lower()
    if key not in _FACTORS:
        raise ValueError(f"activation {name!r} is unknown")
    factors = []
    for given, fallback in zip((alphas, betas), _FACTORS[key], strict=True):
        factor = next(given, fallback) if fallback is not None or key in _BOTH_NEEDED else 0.0
        if factor is None:
            raise ValueError(f"activation {name!r} needs both activation_alpha and activation_beta")
        factors.append(factor)
    return Activation(key, *factors)

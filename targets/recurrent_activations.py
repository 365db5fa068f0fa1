"""Reads the activation functions that LSTM, GRU and RNN name in their `activations` attribute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx_ir as ir

from edgeport.targets.lowering import Refused


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

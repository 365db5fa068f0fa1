"""The interval of an activation that its readers tell apart: what lies outside need not be represented.

Conv -> y -> HardSwish        every y <= -3 becomes 0: integers below -3 would be wasted
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

import onnx_ir as ir

Interval = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)


def distinguished(values: Iterable[ir.Value], members: Collection[str]) -> Interval:
    """The interval outside of which every reader saturates, widened to hold 0.

    Args:
        values: activations with common quantization parameters.
        members: their names; a reader that only passes integers on to another of them tells nothing by itself.
    """
    low, high = 0.0, 0.0
    for value in values:
        if value.is_graph_output():
            return EVERYTHING
        for use in value.uses():
            if any(v.name in members for v in use.node.outputs):
                continue
            a, b = _SATURATING.get(use.node.op_type, _everything)(use.node)
            low, high = min(low, a), max(high, b)
    return low, high


def _everything(node: ir.Node) -> Interval:
    return EVERYTHING


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def _hard_sigmoid(node: ir.Node) -> Interval:
    alpha, beta = _number(node, "alpha", 0.2), _number(node, "beta", 0.5)
    return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else EVERYTHING


def _swish(node: ir.Node) -> Interval:
    alpha = _number(node, "alpha", 1.0)
    return (-12 / alpha, math.inf) if alpha > 0 else EVERYTHING


def _fixed(low: float, high: float) -> Callable[[ir.Node], Interval]:
    return lambda node: (low, high)


_SATURATING: dict[str, Callable[[ir.Node], Interval]] = {
    "Relu": _fixed(0.0, math.inf),
    "HardSwish": _fixed(-3.0, math.inf),
    "HardSigmoid": _hard_sigmoid,
    "Swish": _swish,
    "Mish": _fixed(-12.0, math.inf),
    "Gelu": _fixed(-5.0, math.inf),
    "Sigmoid": _fixed(-10.0, 10.0),
    "Tanh": _fixed(-5.0, 5.0),
}
"""Operator -> where it is flat: exactly so for the piecewise linear ones, to within 1e-4 for the others."""

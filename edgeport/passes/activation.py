"""Finds activations written out: y = f(x, a(g(x))), with f and g polynomials and a one operator (erf, tanh, ..)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from edgeport.passes.edit import static_shape, take_over
from edgeport.passes.polynomial import Expansion, Powers, bases, closed, expand, results

Argument = Callable[[Expansion], Mapping[str, float | str] | None]
"""Judges the argument of the inner operator as a polynomial in x: attributes of the fused operator, or None."""


def fuse_activation(anchor: ir.Node, argument: Argument, outer: Mapping[Powers, float], op_type: str) -> bool:
    """Replaces the activation around `anchor` by one node, if it is one.

    Args:
        anchor: the inner operator a; its first input is g(x).
        argument: accepts or refuses g.
        outer: f as a polynomial in (x, a), e.g. {(1, 0): 0.5, (1, 1): 0.5} for 0.5 x + 0.5 x a.
        op_type: operator of the new node, with the attributes that `argument` returned.

    Returns:
        True if it was replaced. All values in between must have no reader outside.
    """
    inner = anchor.outputs[0]
    for x in bases(anchor.inputs[0]):
        assert anchor.inputs[0] is not None
        inside = expand(anchor.inputs[0], [x])
        attributes = None if inside is None else argument(inside)
        if inside is None or attributes is None:
            continue
        for y in (inner, *results(inner)):
            outside = expand(y, [x, inner])
            if outside is None or not outside.equals(outer) or static_shape(x) != static_shape(y):
                continue
            region = {**inside.region, **outside.region, anchor: None}
            if closed(region, y):
                take_over(y, op_type, [x], dict(attributes))
                return True
    return False

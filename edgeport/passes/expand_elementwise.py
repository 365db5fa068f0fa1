"""Small operators on elements, written in older and commoner ones: for parsers that lack them.

    expand_reciprocal   1 / x
    expand_celu         alpha * Elu(x / alpha)
    expand_shrink       Where(x > lambd, x - bias, Where(x < -lambd, x + bias, 0))
    expand_round        Floor(x), plus 1 where the rest is above a half, or a half and Floor(x) odd
    expand_sign         (x > 0) - (x < 0)
    expand_xor          (a or b) and not (a and b)
    expand_is_nan       not (x == x)
    expand_is_inf       x == inf or x == -inf
    expand_mod          of integers: r = a - b * (a / b), plus b where r has the other sign
                        of floats: r = a - b * t, t = a / b cut off; a |b| more or less where that rounded to a whole

The results are the same to the bit, but for the rounding of Celu and of Mod of floats. ONNX operators of opset 24.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, number


def _each(model: ir.Model, op_type: str, write: Callable[[Site], bool | None]) -> bool:
    """Applies a function to every node of that type; it answers False where it leaves one alone."""
    changed = False
    for node in nodes(model, op_type):
        changed |= write(Site(model, node)) is not False
    return changed


@register("expand_reciprocal")
def expand_reciprocal(model: ir.Model) -> bool:
    """Writes every Reciprocal as a quotient."""

    def write(site: Site) -> None:
        x = site.node.inputs[0]
        take_over(site.node.outputs[0], "Div", [number(site, 1, x, "one"), x])

    return _each(model, "Reciprocal", write)


@register("expand_celu")
def expand_celu(model: ir.Model) -> bool:
    """Writes every Celu with Elu."""

    def write(site: Site) -> None:
        x, y, alpha = site.node.inputs[0], site.node.outputs[0], get_float(site.node, "alpha", 1.0)
        if alpha == 1:
            take_over(y, "Elu", [x], {"alpha": 1.0})
            return
        factor = number(site, alpha, x, "alpha")
        elu = site.op("Elu", [site.op("Div", [x, factor], "inside")], "elu", alpha=1.0)
        take_over(y, "Mul", [elu, factor])

    return _each(model, "Celu", write)


@register("expand_shrink")
def expand_shrink(model: ir.Model) -> bool:
    """Writes every Shrink with Where."""

    def write(site: Site) -> None:
        node, x = site.node, site.node.inputs[0]
        lambd, bias = get_float(node, "lambd", 0.5), get_float(node, "bias", 0.0)
        above = site.op("Greater", [x, number(site, lambd, x, "high")], "above")
        below = site.op("Less", [x, number(site, -lambd, x, "low")], "below")
        shift = number(site, bias, x, "shift")
        zero = number(site, 0, x, "zero")
        low = site.op("Where", [below, site.op("Add", [x, shift], "raised"), zero], "lower")
        take_over(node.outputs[0], "Where", [above, site.op("Sub", [x, shift], "lowered"), low])

    return _each(model, "Shrink", write)


@register("expand_round")
def expand_round(model: ir.Model) -> bool:
    """Writes every Round, halves to even, with Floor."""

    def write(site: Site) -> bool | None:
        x = site.node.inputs[0]
        if x is None or x.dtype is None:
            return False
        half, two = number(site, 0.5, x, "half"), number(site, 2, x, "two")
        floor = site.op("Floor", [x], "floor")
        rest = site.op("Sub", [x, floor], "rest")
        pairs = site.op("Floor", [site.op("Mul", [floor, half], "halved")], "pairs")
        odd = site.op("Greater", [floor, site.op("Mul", [pairs, two], "even")], "odd")
        tie = site.op("And", [site.op("Equal", [rest, half], "half_way"), odd], "tie")
        up = site.op("Or", [site.op("Greater", [rest, half], "beyond"), tie], "up")
        take_over(site.node.outputs[0], "Add", [floor, site.op("Cast", [up], "one", to=int(x.dtype))])
        return None

    return _each(model, "Round", write)


@register("expand_sign")
def expand_sign(model: ir.Model) -> bool:
    """Writes every Sign with comparisons."""

    def write(site: Site) -> bool | None:
        x = site.node.inputs[0]
        if x is None or x.dtype is None:
            return False
        zero = number(site, 0, x, "zero")
        parts = [
            site.op("Cast", [site.op(kind, [x, zero], role)], f"{role}/number", to=int(x.dtype))
            for kind, role in (("Greater", "above"), ("Less", "below"))
        ]
        take_over(site.node.outputs[0], "Sub", parts)
        return None

    return _each(model, "Sign", write)


@register("expand_xor")
def expand_xor(model: ir.Model) -> bool:
    """Writes every Xor with And, Or and Not."""

    def write(site: Site) -> None:
        both = site.op("Not", [site.op("And", site.node.inputs, "both")], "not_both")
        take_over(site.node.outputs[0], "And", [site.op("Or", site.node.inputs, "either"), both])

    return _each(model, "Xor", write)


@register("expand_is_nan")
def expand_is_nan(model: ir.Model) -> bool:
    """Writes every IsNaN as what is not equal to itself."""

    def write(site: Site) -> None:
        x = site.node.inputs[0]
        take_over(site.node.outputs[0], "Not", [site.op("Equal", [x, x], "ordinary")])

    return _each(model, "IsNaN", write)


@register("expand_is_inf")
def expand_is_inf(model: ir.Model) -> bool:
    """Writes every IsInf as comparisons."""

    def write(site: Site) -> bool | None:
        node, x = site.node, site.node.inputs[0]
        up, down = get_int(node, "detect_positive", 1), get_int(node, "detect_negative", 1)
        if not up and not down:
            return False
        value = site.op("Abs", [x], "magnitude") if up and down else x
        take_over(node.outputs[0], "Equal", [value, number(site, np.inf if up else -np.inf, x, "infinity")])
        return None

    return _each(model, "IsInf", write)


@register("expand_mod")
def expand_mod(model: ir.Model) -> bool:
    """Writes every Mod with divisions."""

    def write(site: Site) -> bool | None:
        a, b = site.node.inputs[:2]
        if a is None or b is None or a.dtype is None:
            return False
        if a.dtype.is_integer():
            _integer_mod(site, a, b, a.dtype)
        else:
            _float_mod(site, a, b)
        return None

    return _each(model, "Mod", write)


def _integer_mod(site: Site, a: ir.Value, b: ir.Value, kind: ir.DataType) -> None:
    """Their division truncates."""
    node = site.node
    product = site.op("Mul", [site.op("Div", [a, b], "quotient"), b], "product")
    if get_int(node, "fmod", 0) or not kind.is_signed():
        take_over(node.outputs[0], "Sub", [a, product])
        return
    rest = site.op("Sub", [a, product], "rest")
    wrong = site.op("Less", [site.op("Mul", [rest, b], "signs"), number(site, 0, a, "zero")], "other_sign")
    shift = site.op("Mul", [site.op("Cast", [wrong], "wrong", to=int(kind)), b], "shift")
    take_over(node.outputs[0], "Add", [rest, shift])


def _float_mod(site: Site, a: ir.Value, b: ir.Value) -> None:
    """Of magnitudes, as the sign is that of the dividend."""
    left, right = site.op("Abs", [a], "magnitude"), site.op("Abs", [b], "divisor")
    whole = site.op("Floor", [site.op("Div", [left, right], "quotient")], "whole")
    rest = site.op("Sub", [left, site.op("Mul", [whole, right], "product")], "rest")
    zero = number(site, 0, a, "zero")
    low = site.op("Where", [site.op("Less", [rest, zero], "too_low"), right, zero], "raise")
    high = site.op("Where", [site.op("GreaterOrEqual", [rest, right], "too_high"), right, zero], "drop")
    rest = site.op("Sub", [site.op("Add", [rest, low], "raised"), high], "magnitude_left")
    negative = site.op("Less", [a, zero], "negative")
    take_over(site.node.outputs[0], "Where", [negative, site.op("Neg", [rest], "negated"), rest])

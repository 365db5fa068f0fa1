"""Scalar arithmetic as polynomials: one matcher for every way an exporter spells the same formula.

x * 0.5 * (1 + e), (x * 0.5) * (e + 1), x * (0.5 * e + 0.5) and 0.5 * x + 0.5 * (x * e) are all the polynomial
0.5 x + 0.5 x e. The passes that fuse activations compare polynomials, not node sequences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgeport.passes.edit import constant, rank, scalar

Powers = tuple[int, ...]
"""Exponent of each atom."""

_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Neg", "Pow", "Sum"})
_DEPTH = 8  # nodes; no spelling of these activations is deeper
_TOLERANCE = 2e-5  # relative; constants are written with five digits (0.7071, 0.79788) in some exporters


@dataclass
class Expansion:
    """A value as a polynomial in given atoms, and the nodes that were expanded."""

    terms: dict[Powers, float]
    region: dict[ir.Node, None] = field(default_factory=dict)

    def equals(self, expected: Mapping[Powers, float]) -> bool:
        """Whether the coefficients are the expected ones, up to the digits exporters write."""
        return self.terms.keys() == expected.keys() and all(
            abs(self.terms[k] - v) <= _TOLERANCE * abs(v) for k, v in expected.items()
        )


def expand(value: ir.Value, atoms: Sequence[ir.Value]) -> Expansion | None:
    """The value as a polynomial in the atoms, or None when it depends on anything else.

    Constants must have one element and not add dimensions.
    """
    region: dict[ir.Node, None] = {}
    terms = _expand(value, list(atoms), region, _DEPTH)
    return None if terms is None else Expansion({k: v for k, v in terms.items() if v != 0}, region)


def _expand(
    value: ir.Value | None, atoms: list[ir.Value], region: dict[ir.Node, None], depth: int
) -> dict[Powers, float] | None:
    if value is None or depth == 0:
        return None
    for i, atom in enumerate(atoms):
        if value is atom:
            return {tuple(int(j == i) for j in range(len(atoms))): 1.0}
    number = scalar(value)
    if number is not None:
        array = constant(value)
        fits = array is not None and array.ndim <= max((rank(atom) or 0) for atom in atoms)
        return {(0,) * len(atoms): number} if fits else None
    node = value.producer()
    if node is None or node.domain != "" or node.op_type not in _ARITHMETIC:
        return None
    if node.op_type == "Pow":
        return _power(node, atoms, region, depth)
    parts = [_expand(operand, atoms, region, depth - 1) for operand in node.inputs]
    region[node] = None
    known = [part for part in parts if part is not None]
    return None if len(known) != len(parts) else _combine(node.op_type, known)


def _power(node: ir.Node, atoms: list[ir.Value], region: dict[ir.Node, None], depth: int) -> dict[Powers, float] | None:
    base, exponent = _expand(node.inputs[0], atoms, region, depth - 1), scalar(node.inputs[1])
    if base is None or exponent not in (1.0, 2.0, 3.0):
        return None
    region[node] = None
    result = base
    for _ in range(int(exponent) - 1):
        result = _product(result, base)
    return result


def _combine(op_type: str, parts: list[dict[Powers, float]]) -> dict[Powers, float] | None:
    first = parts[0]
    if op_type == "Neg":
        return {k: -v for k, v in first.items()}
    if op_type == "Div":
        divisor = parts[1]
        if len(divisor) != 1 or any(next(iter(divisor))) or not next(iter(divisor.values())):
            return None
        number = next(iter(divisor.values()))
        return {k: v / number for k, v in first.items()}
    for part in parts[1:]:
        if op_type == "Mul":
            first = _product(first, part)
        else:
            sign = -1.0 if op_type == "Sub" else 1.0
            first = {k: first.get(k, 0.0) + sign * part.get(k, 0.0) for k in (*first, *part)}
    return first


def _product(a: Mapping[Powers, float], b: Mapping[Powers, float]) -> dict[Powers, float]:
    result: dict[Powers, float] = {}
    for ka, va in a.items():
        for kb, vb in b.items():
            key = tuple(i + j for i, j in zip(ka, kb, strict=True))
            result[key] = result.get(key, 0.0) + va * vb
    return result


def bases(value: ir.Value | None) -> list[ir.Value]:
    """The value and what it is computed from by scalar arithmetic, nearest first: candidates for a formula's x."""
    found: dict[ir.Value, None] = {}
    level = [value]
    for _ in range(_DEPTH):
        following: list[ir.Value | None] = []
        for candidate in level:
            if candidate is None or candidate in found or constant(candidate) is not None:
                continue
            found[candidate] = None
            node = candidate.producer()
            if node is not None and node.domain == "" and node.op_type in _ARITHMETIC:
                following.extend(node.inputs)
        level = following
    return list(found)


def results(value: ir.Value) -> list[ir.Value]:
    """What scalar arithmetic makes of the value step by step, nearest first, as long as each has one consumer."""
    found: list[ir.Value] = []
    current = value
    while not current.is_graph_output() and len(current.consumers()) == 1 and len(found) < _DEPTH:
        node = current.consumers()[0]
        if node.domain != "" or node.op_type not in _ARITHMETIC or node.graph is not value.graph:
            break
        current = node.outputs[0]
        found.append(current)
    return found


def closed(region: Mapping[ir.Node, None], result: ir.Value) -> bool:
    """True when nothing outside the region reads what is computed inside, except the result."""
    for node in region:
        for output in node.outputs:
            if output is result:
                continue
            if output.is_graph_output() or any(user not in region for user in output.consumers()):
                return False
    return True

"""Reads what a Softmax is applied to as scaled products with masks on top.

q k^T --> Mul, Div by constants --> any of  Add(m)                    a bias or additive mask
                                            Where(c, ., low)          a boolean mask, low at most -1e4
                                            Where(c, low, .)          the same, inverted
                                            Reshape .. Reshape        around one of these (windows, B*H as one axis)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import onnx_ir as ir

from edgeport.passes.edit import producer, rank, scalar, static_shape, used_once

Kind = Literal["added", "kept", "dropped"]
_LOW = -1e4
"""exp(low - score) is 0 in float32 for any score that a network computes."""


@dataclass(frozen=True)
class Term:
    """One mask.

    Attributes:
        value: what is added, or the condition.
        kind: `added`; `kept` where the condition is true, or `dropped` there.
        scores: the scores that it is applied to, whose shape it broadcasts to.
        low: what takes the place of dropped scores.
    """

    value: ir.Value
    kind: Kind
    scores: ir.Value
    low: float = 0.0


@dataclass(frozen=True)
class Reading:
    """The product under all masks, its factor, and the masks, innermost first."""

    product: ir.Node
    factor: float
    terms: tuple[Term, ...] = ()


def readings(scores: ir.Value, depth: int = 8) -> Iterator[Reading]:
    """All ways to read the value; an Add has two. Nothing outside may read what lies between."""
    if depth == 0 or not used_once(scores):
        return
    core, factor = without_scale(scores)
    product = producer(core, "MatMul")
    if product is not None and used_once(core):
        yield Reading(product, factor)
    add, where, reshape = producer(scores, "Add"), producer(scores, "Where"), producer(scores, "Reshape")
    if add is not None:
        for inner, mask in (add.inputs[:2], add.inputs[1::-1]):
            if inner is not None and mask is not None:
                yield from _with_term(inner, Term(_compact(mask), "added", scores), depth)
    if where is not None:
        condition, chosen, other = where.inputs
        choices: tuple[tuple[ir.Value | None, ir.Value | None, Kind], ...]
        choices = ((chosen, other, "kept"), (other, chosen, "dropped"))
        for inner, value, kind in choices:
            low = scalar(value)
            if condition is not None and inner is not None and low is not None and low <= _LOW:
                yield from _with_term(inner, Term(_compact(condition), kind, scores, low), depth)
    if reshape is not None and reshape.inputs[0] is not None:
        for reading in readings(reshape.inputs[0], depth - 1):
            if _same_ends(reading.product.outputs[0], scores, reshape.inputs[0]):
                yield reading


def _with_term(inner: ir.Value, term: Term, depth: int) -> Iterator[Reading]:
    if rank(inner) != rank(term.scores):
        return
    for reading in readings(inner, depth - 1):
        yield replace(reading, terms=(*reading.terms, term))


def _compact(mask: ir.Value) -> ir.Value:
    """What stands before an Expand over batch, heads or queries."""
    node = producer(mask, "Expand")
    before, after = (None, None) if node is None else (static_shape(node.inputs[0]), static_shape(mask))
    if node is None or node.inputs[0] is None or before is None or after is None:
        return mask
    return node.inputs[0] if len(before) > 1 and before[-1] == after[-1] else mask


def _same_ends(product: ir.Value, *others: ir.Value) -> bool:
    """Whether all end in the same queries and keys, so that reshapes between them regroup batch and heads only."""
    shapes = [static_shape(value) for value in (product, *others)]
    return all(shape is not None and len(shape) > 2 and shape[-2:] == (shapes[0] or ())[-2:] for shape in shapes)


def without_scale(value: ir.Value) -> tuple[ir.Value, float]:
    """(x, c) with value = c * x: Mul and Div by constants that nothing else reads are taken off."""
    factor = 1.0
    while used_once(value):
        node = producer(value, "Mul", "Div")
        if node is None or node.inputs[0] is None or node.inputs[1] is None:
            break
        x, other = node.inputs[0], node.inputs[1]
        if node.op_type == "Mul" and scalar(x) is not None:
            x, other = other, x
        number = scalar(other)
        if not number or rank(x) != rank(value):
            break
        factor = factor * number if node.op_type == "Mul" else factor / number
        value = x
    return value, factor

"""Einsum becomes the matrix products, products and sums that it stands for.

    Einsum("bhqd,bhkd->bhqk")(q, k)     ==>     MatMul(q, Transpose(k))
    Einsum("bsd,dnh->bsnh")(x, w)       ==>     Reshape(MatMul(x, Reshape(w)))
    Einsum("ii->i")(x)                  ==>     Gather of every (n + 1)-th element

Operands are combined from left to right: axes that both have and nobody else wants are contracted by one MatMul (by Mul
and ReduceSum where nothing else is left, or in integers), otherwise Mul broadcasts. Applies to every equation of
operands with at most one unknown dimension, which is no diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_str, nodes, static_shape, take_over
from edgeport.passes.einsum_equation import Equation, parse
from edgeport.passes.registry import register
from edgeport.passes.site import Site

Sizes = dict[str, int]
"""Size of each label; -1 for the one that is not known."""


@dataclass(frozen=True)
class _Term:
    """A value whose axes are labelled, each label once."""

    value: ir.Value
    labels: tuple[str, ...]


@register("expand_einsum")
def expand_einsum(model: ir.Model) -> bool:
    """Rewrites every Einsum whose ranks are known."""
    changed = False
    for node in nodes(model, "Einsum"):
        shapes = [None if v is None or v.shape is None else tuple(v.shape) for v in node.inputs]
        known = [shape for shape in shapes if shape is not None]
        if len(known) < len(shapes):
            continue
        equation = parse(get_str(node, "equation", ""), [len(shape) for shape in known])
        sizes = None if equation is None else _sizes(equation, known)
        if equation is not None and sizes is not None and _expressible(node, equation, sizes):
            _expand(Site(model, node), equation, sizes)
            changed = True
    return changed


def _sizes(equation: Equation, shapes: Sequence[Sequence[int | ir.SymbolicDim]]) -> Sizes | None:
    sizes: Sizes = {}
    for labels, shape in zip(equation.operands, shapes, strict=True):
        for label, dim in zip(labels, shape, strict=True):
            size = dim if isinstance(dim, int) else -1
            old = sizes.get(label, size)
            if size > 1 and old > 1 and size != old:
                return None
            sizes[label] = max(size, old) if 1 not in (size, old) else size if old == 1 else old
    return None if list(sizes.values()).count(-1) > 1 or 0 in sizes.values() else sizes


def _expressible(node: ir.Node, equation: Equation, sizes: Sizes) -> bool:
    """No diagonal of unknown size, and a result of the shape that the graph declares for it."""
    if any(labels.count(x) > 1 and sizes[x] < 0 for labels in equation.operands for x in labels):
        return False
    declared = static_shape(node.outputs[0])
    return declared is None or all(sizes[x] in (-1, d) for x, d in zip(equation.result, declared, strict=True))


def _expand(site: Site, equation: Equation, sizes: Sizes) -> None:
    y = site.node.outputs[0]
    integer = y.dtype is not None and not y.dtype.is_floating_point()
    pending = [_prepared(site, i, value, labels, sizes) for i, (value, labels) in _operands(site.node, equation)]
    total = pending.pop(0)
    step = 0
    while True:
        wanted = {*equation.result, *(label for term in pending for label in term.labels)}
        total = _summed(site, total, [label for label in total.labels if label not in wanted], f"sum{step}")
        if not pending:
            break
        other = pending.pop(0)
        later = {*equation.result, *(label for term in pending for label in term.labels)}
        other = _summed(site, other, [x for x in other.labels if x not in (*later, *total.labels)], f"own{step}")
        total = _product(site, total, other, later, sizes, integer, f"product{step}")
        step += 1
    total = _ordered(site, total, equation.result, "order")
    take_over(y, "Identity", [total.value])


def _operands(node: ir.Node, equation: Equation) -> list[tuple[int, tuple[ir.Value, tuple[str, ...]]]]:
    values = [v for v in node.inputs if v is not None]
    return list(enumerate(zip(values, equation.operands, strict=True)))


def _prepared(site: Site, index: int, value: ir.Value, labels: tuple[str, ...], sizes: Sizes) -> _Term:
    """Without axes of size 1 that broadcast, and with each diagonal taken."""
    assert value.shape is not None
    broadcast = [a for a, (x, d) in enumerate(zip(labels, value.shape, strict=True)) if d == 1 and sizes[x] != 1]
    if broadcast:
        axes = site.constant(f"operand{index}/axes", np.asarray(broadcast, np.int64))
        value = site.op("Squeeze", [value, axes], f"operand{index}")
        labels = tuple(x for a, x in enumerate(labels) if a not in broadcast)
    for repeated in dict.fromkeys(x for x in labels if labels.count(x) > 1):
        while labels.count(repeated) > 1:
            value, labels = _diagonal(site, value, labels, repeated, sizes, f"operand{index}/{repeated}")
    return _Term(value, labels)


def _diagonal(
    site: Site, value: ir.Value, labels: tuple[str, ...], label: str, sizes: Sizes, role: str
) -> tuple[ir.Value, tuple[str, ...]]:
    """The first two axes of one label, moved to the end, become one."""
    first, second = [a for a, x in enumerate(labels) if x == label][:2]
    rest = [a for a in range(len(labels)) if a not in (first, second)]
    moved = site.op("Transpose", [value], f"{role}/moved", perm=[*rest, first, second])
    size, others = sizes[label], tuple(labels[a] for a in rest)
    flat = site.reshape(moved, [*(sizes.get(x, -1) for x in others), size * size], f"{role}/flat")
    where = site.constant(f"{role}/places", np.arange(size, dtype=np.int64) * (size + 1))
    return site.op("Gather", [flat, where], f"{role}/diagonal", axis=-1), (*others, label)


def _summed(site: Site, term: _Term, labels: Sequence[str], role: str) -> _Term:
    if not labels:
        return term
    axes = site.constant(f"{role}/axes", np.asarray([term.labels.index(x) for x in labels], np.int64))
    total = site.op("ReduceSum", [term.value, axes], role, keepdims=0)
    return _Term(total, tuple(x for x in term.labels if x not in labels))


def _ordered(site: Site, term: _Term, labels: Sequence[str], role: str) -> _Term:
    if term.labels == tuple(labels):
        return term
    perm = [term.labels.index(x) for x in labels]
    return _Term(site.op("Transpose", [term.value], role, perm=perm), tuple(labels))


def _product(site: Site, a: _Term, b: _Term, later: set[str], sizes: Sizes, integer: bool, role: str) -> _Term:
    shared = [x for x in a.labels if x in b.labels]
    contracted = [x for x in shared if x not in later]
    only_a, only_b = [x for x in a.labels if x not in shared], [x for x in b.labels if x not in shared]
    if not contracted or integer or not (only_a or only_b):
        order = [*a.labels, *only_b]
        factors = [_spread(site, term, order, f"{role}/{side}") for term, side in ((a, "left"), (b, "right"))]
        product = _Term(site.op("Mul", factors, role), tuple(order))
        return _summed(site, product, contracted, f"{role}/sum")
    if constant(a.value) is not None and constant(b.value) is None:  # weights stand on the right
        a, b, only_a, only_b = b, a, only_b, only_a
    batch = [x for x in shared if x in later]
    batches = [[x] for x in batch]
    # A matrix without batch axes multiplies rows of any rank; with them MatMul takes exactly one axis of rows.
    rows = [[x] for x in only_a] if only_a and not batch else [only_a]
    left = _grouped(site, a, [*batches, *rows, contracted], sizes, f"{role}/left")
    right = _grouped(site, b, [*batches, contracted, only_b], sizes, f"{role}/right")
    value, labels = site.op("MatMul", [left, right], role), (*batch, *only_a, *only_b)
    if any(len(group) != 1 for group in (*rows, only_b)):
        value = site.reshape(value, [sizes[x] for x in labels], f"{role}/split")
    return _Term(value, labels)


def _grouped(site: Site, term: _Term, groups: Sequence[Sequence[str]], sizes: Sizes, role: str) -> ir.Value:
    """One axis a group of labels: transposed, then merged."""
    order = [label for group in groups for label in group]
    value = _ordered(site, term, order, f"{role}/order").value
    if all(len(group) == 1 for group in groups):
        return value
    dims = [-1 if any(sizes[x] < 0 for x in group) else math.prod(sizes[x] for x in group) for group in groups]
    return site.reshape(value, dims, role)


def _spread(site: Site, term: _Term, order: Sequence[str], role: str) -> ir.Value:
    """Axes in the given order, those that the term lacks with size 1; leading ones broadcast by themselves."""
    value = _ordered(site, term, [x for x in order if x in term.labels], f"{role}/order").value
    lacking = [i for i, x in enumerate(order) if x not in term.labels]
    if lacking == list(range(len(lacking))):
        return value
    axes = site.constant(f"{role}/axes", np.asarray(lacking, np.int64))
    return site.op("Unsqueeze", [value, axes], role)

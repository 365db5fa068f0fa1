"""The masks of a fused attention as one, in the form that ONNX Runtime's Attention takes and means the same.

What is added to the scores becomes a tensor [b, h, S, T] (b, h may be 1) with no value under -3.4e38:

- ONNX Runtime broadcasts a mask over batch and heads but not over the queries, so [B, 1, 1, T] is expanded;
- a row whose mask is the lowest float32 everywhere gives zeros there, while Softmax gives the mean of v. The lowest
  float is therefore raised to -3.4e38, which is as good as minus infinity beside any score and keeps the mean. (Rows of
  minus infinity only were NaN before; now they give the mean.) Several masks share that depth, so that a key that two
  of them forbid still lies below one that only one forbids.

Where the source replaces NaN weights by zero, minus infinity is kept: there such rows give zeros in both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_scores import Term
from edgeport.passes.edit import (
    Array,
    add_initializer,
    constant,
    insert_before,
    producer,
    rank,
    scalar,
    static_shape,
)

FLOOR = np.float32(-3.4e38)
_HARMLESS = -1e30
"""A bias above needs no floor of its own."""

Sizes = Sequence[int | ir.SymbolicDim]


def combined_mask(
    model: ir.Model, before: ir.Node, terms: Sequence[Term], sizes: Sizes, guarded: bool
) -> ir.Value | None:
    """All masks of an attention as one, or None when their shapes or values cannot be brought to the form above.

    Args:
        model: receives new constants.
        before: new nodes are inserted in front of this one.
        terms: the masks, at least one.
        sizes: [B, H, S, T] of the attention.
        guarded: whether NaN weights become zero in the source.
    """
    if guarded and not all(_finite(term) for term in terms):
        return _guarded(model, before, terms, sizes)
    deep = sum(not _harmless(term) for term in terms)
    floor = np.float32(FLOOR / max(deep, 1))
    mask: ir.Value | None = None
    for term in terms:
        value = _floored(model, before, term.value, floor) if term.kind == "added" else term.value
        part = _fitted(model, before, value, term, sizes)
        if part is None:
            return None
        mask = _joined(model, before, mask, part, term, floor)
        if mask is None:
            return None
    assert mask is not None
    return _rows(model, before, mask, sizes)


def _joined(
    model: ir.Model, before: ir.Node, mask: ir.Value | None, part: ir.Value, term: Term, floor: np.float32
) -> ir.Value | None:
    """A further mask on top of those so far: added to them, or in their place where it drops a key."""
    if term.kind == "added" and mask is None:
        return part
    below = constant(mask) if mask is not None else np.float32(0)
    array, name = constant(part), f"{part.name}/{'sum' if term.kind == 'added' else 'bias'}"
    if array is not None and below is not None:
        if term.kind == "added":
            return add_initializer(model, name, array + below)
        return add_initializer(model, name, np.where(array == (term.kind == "kept"), below, floor))
    shapes = [static_shape(v) for v in (mask, part) if v is not None]
    if len(shapes) == 2 and None in shapes:
        return None
    if term.kind == "added":
        result = insert_before(before, "Add", [mask, part], name=name)
    else:
        kept = add_initializer(model, f"{name}/zero", np.float32(0)) if mask is None else mask
        low = add_initializer(model, f"{name}/low", floor)
        branches = [kept, low] if term.kind == "kept" else [low, kept]
        result = insert_before(before, "Where", [part, *branches], name=name, like=part)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    if len(shapes) == 2:
        result.shape = ir.Shape(np.broadcast_shapes(*(shape for shape in shapes if shape is not None)))
    return result


def _guarded(model: ir.Model, before: ir.Node, terms: Sequence[Term], sizes: Sizes) -> ir.Value | None:
    """One mask that forbids by minus infinity, as a condition if it is one."""
    if len(terms) != 1:
        return None
    (term,) = terms
    value, kept = term.value, term.kind == "kept"
    if term.kind == "added":
        where = producer(value, "Where")
        branches = [] if where is None else [scalar(v) for v in where.inputs[1:]]
        if where is not None and branches == [0.0, -math.inf] and where.inputs[0] is not None:
            value, kept = where.inputs[0], True
        elif constant(value) is None:
            return None
    if term.kind == "dropped" or (term.kind == "kept" and term.low != -math.inf):
        return None
    array = constant(value)
    if array is not None and not kept and np.any((array < FLOOR) & np.isfinite(array)):
        return None
    fitted = _fitted(model, before, value, term, sizes)
    return None if fitted is None else _rows(model, before, fitted, sizes)


def _finite(term: Term) -> bool:
    lowest = lower_bound(term.value) if term.kind == "added" else term.low
    return lowest is not None and lowest != -math.inf


def _harmless(term: Term) -> bool:
    lowest = lower_bound(term.value) if term.kind == "added" else None
    return lowest is not None and lowest > _HARMLESS


def _fitted(model: ir.Model, before: ir.Node, mask: ir.Value, term: Term, sizes: Sizes) -> ir.Value | None:
    """The mask with four axes that broadcast to the sizes, except that it may have one row; None if it does not fit."""
    dims, outer = rank(mask), rank(term.scores)
    if dims is None or outer is None or dims > outer or mask.shape is None or term.scores.shape is None:
        return None
    if dims < 2 and constant(mask) is None:
        return None
    array = constant(mask)
    if array is None and mask.shape[-1] != sizes[-1]:
        return None
    if dims >= 2 and mask.shape[-2] not in (1, sizes[-2]):
        return None
    view = list(term.scores.shape)
    known = static_shape(mask)
    if outer == 4 and (view[:2] == list(sizes)[:2] or static_shape(term.scores) is None):
        if dims == 4:
            return mask
        return None if known is None else _reshaped(model, before, mask, (1,) * (4 - dims) + known)
    whole = static_shape(term.scores)
    target = [d for d in sizes[:2] if isinstance(d, int)]
    if known is None or whole is None or len(target) < 2:
        return None
    padded = (1,) * (outer - dims) + known
    leading = _regrouped(padded[:-2], whole[:-2], target)
    if leading is None:
        return None
    expanded, new = leading
    ends = (*((1,) * max(0, 2 - dims)), *known[-2:])
    if expanded != padded[:-2]:
        mask = _expanded(model, before, _reshaped(model, before, mask, padded), (*expanded, *ends))
    return _reshaped(model, before, mask, (*new, *ends))


def _regrouped(
    dims: tuple[int, ...], view: tuple[int, ...], target: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Leading axes of a mask that broadcast to `view`, for scores whose leading axes become `target`.

    Returns:
        What to expand them to first, and what they become. Axes are matched in the smallest groups of equal product;
        a group in which the mask is 1 everywhere stays 1.
    """
    expanded: list[int] = []
    new: list[int] = []
    i = j = 0
    while i < len(view) or j < len(target):
        start_i, start_j, a, b = i, j, 1, 1
        while True:
            if a <= b and i < len(view):
                a, i = a * view[i], i + 1
            elif j < len(target):
                b, j = b * target[j], j + 1
            else:
                return None
            if a == b and i > start_i and j > start_j:
                break
            if a == b == 1 and (i == len(view)) and (j == len(target)):
                break
        group, wanted = dims[start_i:i], target[start_j:j]
        alone = all(d == 1 for d in group)
        expanded.extend(group if alone else view[start_i:i])
        new.extend([1] * len(wanted) if alone else wanted)
    return tuple(expanded), tuple(new)


def _rows(model: ir.Model, before: ir.Node, mask: ir.Value, sizes: Sizes) -> ir.Value | None:
    """The mask with a row for every query."""
    if mask.shape is None:
        return None
    array, lengths = constant(mask), [d for d in sizes[-2:] if isinstance(d, int)]
    if array is not None:
        if len(lengths) < 2 or array.shape[-1] not in (1, lengths[1]) or array.shape[-2] not in (1, lengths[0]):
            return None
        whole = np.broadcast_to(array, (*array.shape[:-2], *lengths))
        return mask if whole.shape == array.shape else add_initializer(model, f"{mask.name}/rows", whole)
    if mask.shape[-2] == sizes[-2]:
        return mask
    if not isinstance(sizes[-2], int):
        return None
    return _expanded(model, before, mask, (1, 1, sizes[-2], 1))


def _reshaped(model: ir.Model, before: ir.Node, value: ir.Value, dims: tuple[int, ...]) -> ir.Value:
    array = constant(value)
    if array is not None:
        return add_initializer(model, f"{value.name}/shaped", array.reshape(dims))
    if static_shape(value) == dims:
        return value
    name = f"{value.name}/shaped"
    target = add_initializer(model, f"{name}/shape", np.asarray(dims, np.int64))
    result = insert_before(before, "Reshape", [value, target], name=name)
    result.type, result.shape = value.type, ir.Shape(dims)
    return result


def _expanded(model: ir.Model, before: ir.Node, value: ir.Value, dims: tuple[int, ...]) -> ir.Value:
    array = constant(value)
    if array is not None:
        whole: Array = np.broadcast_to(array, np.broadcast_shapes(array.shape, dims))
        return add_initializer(model, f"{value.name}/rows", whole)
    name = f"{value.name}/rows"
    target = add_initializer(model, f"{name}/shape", np.asarray(dims, np.int64))
    result = insert_before(before, "Expand", [value, target], name=name)
    known = static_shape(value)
    result.type = value.type
    result.shape = None if known is None else ir.Shape(np.broadcast_shapes(known, dims))
    return result


def _floored(model: ir.Model, before: ir.Node, mask: ir.Value, floor: np.float32) -> ir.Value:
    """The mask, nowhere below the floor. Where between constants gets raised constants, anything else a Clip."""
    name = f"{mask.name}/floored"
    array, lowest = constant(mask), lower_bound(mask)
    if array is not None:
        return add_initializer(model, name, np.maximum(array, floor.astype(array.dtype)))
    if lowest is not None and lowest >= floor:
        return mask
    where = producer(mask, "Where")
    branches = [] if where is None else [constant(value) for value in where.inputs[1:]]
    if where is not None and all(branch is not None for branch in branches):
        raised = [
            add_initializer(model, f"{name}/{role}", np.maximum(branch, floor.astype(branch.dtype)))
            for role, branch in zip(("true", "false"), branches, strict=True)
            if branch is not None
        ]
        return insert_before(before, "Where", [where.inputs[0], *raised], name=name, like=mask)
    low = add_initializer(model, f"{name}/min", np.asarray(floor, np.float32))
    return insert_before(before, "Clip", [mask, low], name=name, like=mask)


def lower_bound(value: ir.Value | None, depth: int = 8) -> float | None:
    """A lower bound of the values, as far as it follows from constants."""
    if value is None or depth == 0:
        return None
    array = constant(value)
    if array is not None:
        return float(array.min()) if array.size else None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    if node.op_type in ("Gather", "Transpose", "Reshape", "Expand", "Unsqueeze", "Squeeze", "Slice", "Identity"):
        return lower_bound(node.inputs[0], depth - 1)
    if node.op_type == "Clip":
        return scalar(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type in ("Where", "Concat", "Add"):
        parts = [lower_bound(part, depth - 1) for part in (node.inputs[1:] if node.op_type == "Where" else node.inputs)]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            return sum(known) if node.op_type == "Add" else min(known)
    return None

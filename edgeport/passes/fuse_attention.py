"""Scaled dot-product attention written out becomes one operator; the masks become one input.

    q [B,H,S,D] ------------------> MatMul --> Mul(scale) --> Add(mask) --> Softmax --> MatMul --> y [B,H,S,E]
    k [B,H,T,D] --> Transpose -------^                                                    ^
    v [B,H,T,E] --------------------------------------------------------------------------'

        ==>     Attention(q, k, v, mask; scale)

Applies to four-dimensional q, k, v with a Softmax over the last axis whose result only the second product reads, or
only behind a Where that replaces NaN by zero. The factor may be Mul or Div by a constant on the scores, on q, on k, or
any of them together (their product must be positive). The transposition of k may be merged with the split into heads:
k is then transposed by the rest of the permutation. Masks are added or chosen by Where, in any number and also behind
reshapes that regroup batch and heads (see `attention_scores` and `attention_mask`). Three-dimensional products
[B*H,S,D] of static shape are reshaped to [B,H,S,D] as a mask tells, else to [1,B*H,S,D]. Keys and values that are
repeated for groups of query heads are taken before the repetition. v p^T, as vision models write it, becomes
(p v^T)^T. Not applied where anything in between has another reader.
Vaswani et al. 2017, arXiv 1706.03762, equation 1; Ainslie et al. 2023, arXiv 2305.13245; ONNX operator Attention-23.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_mask import combined_mask
from edgeport.passes.attention_scores import Reading, readings, without_scale
from edgeport.passes.edit import (
    add_initializer,
    get_int,
    get_ints,
    insert_before,
    nodes,
    producer,
    rank,
    scalar,
    static_shape,
    take_over,
    used_once,
)
from edgeport.passes.registry import register
from edgeport.passes.repeated_heads import before_repetition

_Masks = dict[tuple[object, ...], ir.Value]


@dataclass(frozen=True)
class _Match:
    """q, k, v as they are; `k_order` permutes k into [B,H,T,D]."""

    q: ir.Value
    k: ir.Value
    k_order: list[int]
    v: ir.Value
    reading: Reading
    scale: float
    guarded: bool
    mirrored: bool
    """Whether v comes as [B,H,E,T] and the product is v p^T = y^T."""


@register("fuse_attention")
def fuse_attention(model: ir.Model) -> bool:
    """Fuses every attention of that form."""
    changed = False
    masks: _Masks = {}
    for node in nodes(model, "Softmax"):
        weights, guarded = _weights(node)
        context, mirrored = _context(node, weights)
        match = None if context is None else _match(node, context, guarded, mirrored)
        if context is not None and match is not None:
            changed |= _replace(model, node, context.outputs[0], match, masks)
    return changed


def _weights(softmax: ir.Node) -> tuple[ir.Value, bool]:
    """The weights, and whether NaN among them becomes zero: Where(IsNaN(p), 0, p) as PyTorch writes it."""
    weights = softmax.outputs[0]
    users = {user.op_type: user for user in weights.consumers() if user.domain == ""}
    check, where = users.get("IsNaN"), users.get("Where")
    if len(weights.uses()) != 2 or weights.is_graph_output() or check is None or where is None:
        return weights, False
    is_guard = where.inputs[0] is check.outputs[0] and scalar(where.inputs[1]) == 0 and where.inputs[2] is weights
    return (where.outputs[0], True) if is_guard and used_once(check.outputs[0]) else (weights, False)


def _context(softmax: ir.Node, weights: ir.Value) -> tuple[ir.Node | None, bool]:
    """The product of the weights with v, if that is all they are used for, and whether they are its right side."""
    dims = rank(softmax.outputs[0])
    if dims not in (3, 4) or get_int(softmax, "axis", -1) % dims != dims - 1 or not used_once(weights):
        return None, False
    user, side = weights.consumers()[0], weights
    mirrored = dims == 4 and user.op_type == "Transpose" and get_ints(user, "perm") == [0, 1, 3, 2]
    if mirrored and used_once(user.outputs[0]):
        side = user.outputs[0]
        user = side.consumers()[0]
    multiplies = user.domain == "" and user.op_type == "MatMul" and user.inputs[int(mirrored)] is side
    return (user, mirrored) if multiplies and user.graph is softmax.graph else (None, False)


def _match(softmax: ir.Node, context: ir.Node, guarded: bool, mirrored: bool) -> _Match | None:
    scores, v = softmax.inputs[0], context.inputs[int(not mirrored)]
    if scores is None or v is None:
        return None
    for reading in readings(scores):
        left, right = reading.product.inputs[:2]
        if left is None or right is None or not _same_view(reading.product.outputs[0], scores):
            continue
        q, q_factor = without_scale(left)
        k, k_factor, order = _untransposed(right)
        scale = reading.factor * q_factor * k_factor
        ranks = {rank(q), rank(k), rank(v), rank(scores)}
        if scale > 0 and (len(ranks) == 1 or (ranks == {3, 4} and not mirrored)):
            return _Match(q, k, order, v, reading, scale, guarded, mirrored)
    return None


def _same_view(product: ir.Value, scores: ir.Value) -> bool:
    """Whether reshapes between both, which only static shapes allow, end in the batch and heads they began with."""
    if static_shape(product) is None or static_shape(scores) is None:
        return product.shape is not None and scores.shape is not None and rank(product) == rank(scores)
    return _outer(product) == _outer(scores)


def _outer(value: ir.Value, order: Sequence[int] | None = None) -> list[int | ir.SymbolicDim] | None:
    """Batch and heads, without the 1 in front that MatMul adds to three-dimensional operands; None if not known."""
    if value.shape is None:
        return None
    shape = list(value.shape) if order is None else [value.shape[i] for i in order]
    return shape[1:-2] if len(shape) == 4 and shape[0] == 1 else shape[:-2]


def _untransposed(value: ir.Value) -> tuple[ir.Value, float, list[int]]:
    """(k, c, order) with value = c * transposed k, where Transpose(k, order) is [.., T, D]."""
    k, factor = without_scale(value)
    dims = rank(k) or 2
    order = list(range(dims))
    moved = producer(k, "Transpose")
    permutation = None if moved is None else get_ints(moved, "perm")
    if moved is not None and moved.inputs[0] is not None and permutation is not None and used_once(k):
        order = permutation
        k, inner = without_scale(moved.inputs[0])
        factor *= inner
    return k, factor, [*order[:-2], order[-1], order[-2]]


def _replace(model: ir.Model, softmax: ir.Node, y: ir.Value, match: _Match, masks: _Masks) -> bool:
    scores, node = softmax.inputs[0], y.producer()
    assert scores is not None
    assert node is not None
    flat = 3 in (rank(scores), rank(match.q), rank(match.k), rank(match.v))
    if flat and None in [static_shape(value) for value in (match.q, match.k, match.v, y, scores)]:
        return False
    ungrouped = _ungrouped(match)
    if ungrouped is None:
        return False
    match = ungrouped
    terms, sizes = match.reading.terms, _sizes(match.reading, scores)
    mask = None
    if terms:
        key = (*((t.value, t.kind, tuple(t.scores.shape or ())) for t in terms), tuple(sizes), match.guarded)
        mask = masks.get(key) or combined_mask(model, node, terms, sizes, match.guarded)
        if mask is None:
            return False
        masks[key] = mask
    k = match.k
    if match.k_order != sorted(match.k_order):
        k = insert_before(node, "Transpose", [k], {"perm": match.k_order}, name=f"{y.name}/key")
        dims = static_shape(match.k)
        k.type = match.k.type
        k.shape = None if dims is None else ir.Shape([dims[i] for i in match.k_order])
    q, v = match.q, match.v
    if flat:
        outer = tuple(d for d in sizes[:2] if isinstance(d, int))
        q, k, v = (
            _with_heads(model, node, value, outer, f"{y.name}/{role}") for value, role in ((q, "q"), (k, "k"), (v, "v"))
        )
    if match.mirrored:
        v = insert_before(node, "Transpose", [v], {"perm": [0, 1, 3, 2]}, name=f"{y.name}/value")
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if match.mirrored:
        whole = insert_before(node, "Attention", inputs, {"scale": match.scale}, name=f"{y.name}/attention")
        take_over(y, "Transpose", [whole], {"perm": [0, 1, 3, 2]})
        return True
    if not flat:
        take_over(y, "Attention", inputs, {"scale": match.scale})
        return True
    dims = static_shape(y)
    assert dims is not None
    whole = insert_before(node, "Attention", inputs, {"scale": match.scale}, name=f"{y.name}/attention")
    take_over(y, "Reshape", [whole, add_initializer(model, f"{y.name}/shape", np.asarray(dims, np.int64))])
    return True


def _sizes(reading: Reading, scores: ir.Value) -> list[int | ir.SymbolicDim]:
    """[B, H, S, T] of the attention; B and H of three-dimensional scores are those of a mask, if one tells."""
    for value in (reading.product.outputs[0], scores):
        if value.shape is not None and len(value.shape) == 4 and rank(scores) == 4:
            return list(value.shape)
    for term in reading.terms:
        dims = static_shape(term.scores)
        if dims is not None and len(dims) == 4:
            return list(dims)
    return [1, *(scores.shape or ())]


def _ungrouped(match: _Match) -> _Match | None:
    """k and v before they were repeated for groups of heads; None where batch or heads don't agree one to one.

    MatMul would broadcast them, Attention would group.
    """
    q, k, v = _outer(match.q), _outer(match.k, match.k_order), _outer(match.v)
    if q is None or not q == k == v:
        return None
    if match.k_order != sorted(match.k_order):
        return match
    few_k, few_v = before_repetition(match.k), None if match.mirrored else before_repetition(match.v)
    if few_k is None or few_v is None or few_k.shape is None or few_v.shape is None:
        return match
    same = list(few_k.shape)[:2] == list(few_v.shape)[:2]
    return replace(match, k=few_k, v=few_v) if same else match


def _with_heads(model: ir.Model, node: ir.Node, value: ir.Value, outer: tuple[int, ...], name: str) -> ir.Value:
    dims = static_shape(value)
    assert dims is not None
    shape = (*outer, *dims[-2:])
    target = add_initializer(model, f"{name}/shape", np.asarray(shape, np.int64))
    result = insert_before(node, "Reshape", [value, target], name=name)
    result.type, result.shape = value.type, ir.Shape(shape)
    return result

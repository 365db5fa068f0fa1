"""Scaled dot-product attention written out becomes one operator; the mask stays a separate input.

    q [B,H,S,D] ------------------> MatMul --> Mul(scale) --> Add(mask) --> Softmax --> MatMul --> y [B,H,S,E]
    k [B,H,T,D] --> Transpose -------^                                                    ^
    v [B,H,T,E] --------------------------------------------------------------------------'

        ==>     Attention(q, k, v, mask; scale)

Applies to four-dimensional q, k, v with a Softmax over the last axis whose result only the second product reads. The
factor may be Mul or Div by a constant on the scores, on q, on k, or any of them together (their product must be
positive). The transposition of k may be merged with the split into heads: k is then transposed by the rest of the
permutation. The mask is whatever is added to the scaled scores (see `attention_mask` for its form). Three-dimensional
products [B*H,S,D] of static shape are reshaped to [1,B*H,S,D]. Not applied where anything in between has another
reader, where Where instead of Add does the masking, or to grouped heads.
Vaswani et al. 2017, arXiv 1706.03762, equation 1; ONNX operator Attention-23.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_mask import attention_mask
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


@dataclass(frozen=True)
class _Match:
    """q, k, v as they are; `k_order` permutes k into [B,H,T,D]."""

    q: ir.Value
    k: ir.Value
    k_order: list[int]
    v: ir.Value
    mask: ir.Value | None
    scale: float


@register("fuse_attention")
def fuse_attention(model: ir.Model) -> bool:
    """Fuses every attention of that form."""
    changed = False
    masks: dict[tuple[ir.Value, tuple[int | None, ...]], ir.Value] = {}
    for node in nodes(model, "Softmax"):
        context = _context(node)
        match = None if context is None else _match(node, context)
        if context is not None and match is not None:
            changed |= _replace(model, node, context.outputs[0], match, masks)
    return changed


def _context(softmax: ir.Node) -> ir.Node | None:
    """The product of the weights with v, if that is all they are used for."""
    weights, dims = softmax.outputs[0], rank(softmax.outputs[0])
    if dims not in (3, 4) or get_int(softmax, "axis", -1) % dims != dims - 1 or not used_once(weights):
        return None
    user = weights.consumers()[0]
    multiplies = user.domain == "" and user.op_type == "MatMul" and user.inputs[0] is weights
    return user if multiplies and user.graph is softmax.graph else None


def _match(softmax: ir.Node, context: ir.Node) -> _Match | None:
    scores, v = softmax.inputs[0], context.inputs[1]
    if scores is None or v is None or not used_once(scores):
        return None
    for scaled, mask in _without_mask(scores):
        core, factor = _without_scale(scaled)
        product = producer(core, "MatMul")
        if product is None or not used_once(core) or product.inputs[0] is None or product.inputs[1] is None:
            continue
        q, q_factor = _without_scale(product.inputs[0])
        k, k_factor, order = _untransposed(product.inputs[1])
        scale = factor * q_factor * k_factor
        if scale > 0 and rank(q) == rank(k) == rank(v) == rank(scores):
            return _Match(q, k, order, v, mask, scale)
    return None


def _without_mask(scores: ir.Value) -> list[tuple[ir.Value, ir.Value | None]]:
    add = producer(scores, "Add")
    if add is None:
        return [(scores, None)]
    a, b = add.inputs[0], add.inputs[1]
    return [(x, mask) for x, mask in ((a, b), (b, a)) if x is not None and mask is not None and used_once(x)]


def _without_scale(value: ir.Value) -> tuple[ir.Value, float]:
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


def _untransposed(value: ir.Value) -> tuple[ir.Value, float, list[int]]:
    """(k, c, order) with value = c * transposed k, where Transpose(k, order) is [.., T, D]."""
    k, factor = _without_scale(value)
    dims = rank(k) or 2
    order = list(range(dims))
    moved = producer(k, "Transpose")
    permutation = None if moved is None else get_ints(moved, "perm")
    if moved is not None and moved.inputs[0] is not None and permutation is not None and used_once(k):
        order = permutation
        k, inner = _without_scale(moved.inputs[0])
        factor *= inner
    return k, factor, [*order[:-2], order[-1], order[-2]]


def _replace(
    model: ir.Model,
    softmax: ir.Node,
    y: ir.Value,
    match: _Match,
    masks: dict[tuple[ir.Value, tuple[int | None, ...]], ir.Value],
) -> bool:
    scores, node = softmax.inputs[0], y.producer()
    assert scores is not None
    assert node is not None
    flat = rank(scores) == 3
    shapes = [static_shape(value) for value in (match.q, match.k, match.v, y)]
    if flat and None in shapes:
        return False
    if not _same_heads(match):
        return False
    mask = None
    if match.mask is not None:
        key = (match.mask, tuple(d if isinstance(d, int) else None for d in scores.shape or ()))
        mask = masks.get(key) or attention_mask(model, node, match.mask, scores)
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
        q, k, v = (
            _with_batch(model, node, value, f"{y.name}/{role}") for value, role in ((q, "q"), (k, "k"), (v, "v"))
        )
    inputs = [q, k, v] if mask is None else [q, k, v, mask]
    if not flat:
        take_over(y, "Attention", inputs, {"scale": match.scale})
        return True
    dims = static_shape(y)
    assert dims is not None
    whole = insert_before(node, "Attention", inputs, {"scale": match.scale}, name=f"{y.name}/attention")
    take_over(y, "Reshape", [whole, add_initializer(model, f"{y.name}/shape", np.asarray(dims, np.int64))])
    return True


def _same_heads(match: _Match) -> bool:
    """Batch and heads must agree one to one: MatMul would broadcast, Attention would group."""
    if match.q.shape is None or match.k.shape is None or match.v.shape is None:
        return False
    k = [match.k.shape[i] for i in match.k_order]
    outer = len(k) - 2
    return list(match.q.shape)[:outer] == k[:outer] == list(match.v.shape)[:outer]


def _with_batch(model: ir.Model, node: ir.Node, value: ir.Value, name: str) -> ir.Value:
    dims = static_shape(value)
    assert dims is not None
    target = add_initializer(model, f"{name}/shape", np.asarray((1, *dims), np.int64))
    result = insert_before(node, "Reshape", [value, target], name=name)
    result.type, result.shape = value.type, ir.Shape((1, *dims))
    return result

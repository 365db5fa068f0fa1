"""Every form of Attention becomes the plain one: 4-D q, k, v, at most one mask, is_causal and scale.

    q [B,S,H*D] --> Reshape --> Transpose --> q [B,H,S,D] ----------------------> Attention --> Transpose --> Reshape
    k [B,T,h*D] --> Reshape --> Transpose --> Concat(past_key, .) --> present_key ----^
    attn_mask, past or nonpad_kv_seqlen with is_causal --> one mask [S,T] or [b,h,S,T] -^

With a softcap, or where the scores or the weights are an output, the attention is written out:

    q * scale, k^T --> MatMul --> Tanh cap --> Add(mask) --> Softmax --> Mul(0 for a row without keys) --> MatMul(v)

Needs the lengths wherever they enter a mask; a node of unknown lengths stays as it is. Query heads that share keys
stand as further queries of one head in the written-out form. `softmax_precision` is dropped: the canonical graph
computes in float32. ONNX operator Attention-24.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_terms import Lengths, Term, as_value, is_plain, whole_mask
from edgeport.passes.edit import Attribute, get_float, get_int, input_of, nodes, rank, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read

_FLOOR = np.float32(-3e38)
"""Stands for minus infinity where a row may have nothing else: Softmax of such a row is finite."""
_NEVER = np.float32(-3.402e38)
"""A mask below forbids a key: minus infinity and, as in ONNX Runtime, the lowest float."""


@dataclass(frozen=True)
class _Heads:
    """Sizes that the forms differ in. B and the lengths may be symbolic."""

    queries: int
    keys: int
    depth: int
    flat: bool
    """Whether q, k, v and y are 3-D."""


@register("expand_attention")
def expand_attention(model: ir.Model) -> bool:
    """Expands every Attention that is not in the plain form."""
    changed = False
    for node in nodes(model, "Attention"):
        changed |= _expand(Site(model, node))
    return changed


def _expand(site: Site) -> bool:
    node = site.node
    heads = _heads(node)
    if heads is None or _is_plain(node):
        return False
    mask, past, nonpad = input_of(node, 3), input_of(node, 4), input_of(node, 6)
    causal = bool(get_int(node, "is_causal", 0))
    written_out = get_float(node, "softcap", 0.0) > 0 or is_read(node, 3)
    shifted = past is not None or nonpad is not None
    lengths = _lengths(node, heads)
    explicit = causal and (shifted or written_out)
    if lengths is None and (mask is not None or nonpad is not None or explicit or written_out):
        return False
    q, k, v = (_split_heads(site, i, heads) for i in range(3))
    if past is not None:
        k = site.op("Concat", [past, k], "key", axis=2)
        v = site.op("Concat", [input_of(node, 5), v], "value", axis=2)
    whole: Term | None = None
    if lengths is not None and (mask is not None or nonpad is not None or explicit):
        whole = whole_mask(site, mask, nonpad, explicit, lengths)
    if written_out and lengths is not None:
        y = _written_out(site, q, k, v, whole, heads, lengths)
    else:
        y = _plain(site, q, k, v, whole, causal and not explicit)
    for index, value in ((1, k), (2, v)):
        if is_read(node, index):
            take_over(node.outputs[index], "Identity", [value])
    if heads.flat:
        y = site.op("Transpose", [y], "together", perm=[0, 2, 1, 3])
        take_over(node.outputs[0], "Reshape", [y, site.constant("hidden/shape", np.asarray([0, 0, -1], np.int64))])
    else:
        take_over(node.outputs[0], "Identity", [y])
    return True


def _is_plain(node: ir.Node) -> bool:
    q, k = static_shape(node.inputs[0]), static_shape(node.inputs[1])
    mask = input_of(node, 3)
    sizes = None if q is None or k is None or len(q) != 4 or len(k) != 4 else Lengths(q[0], q[2], k[2], 0)
    if mask is not None and sizes is not None and not is_plain(mask, sizes):
        return False
    further = any(value is not None for value in node.inputs[4:]) or any(is_read(node, i) for i in (1, 2, 3))
    stated = [a for a in node.attributes if a not in ("scale", "is_causal")]
    return rank(node.inputs[0]) == 4 and not further and not stated


def _heads(node: ir.Node) -> _Heads | None:
    """None where the numbers of heads or their depth are not known."""
    q, k = node.inputs[0], node.inputs[1]
    if q is None or k is None or q.shape is None or k.shape is None or rank(q) != rank(k) or rank(q) not in (3, 4):
        return None
    flat = rank(q) == 3
    queries = get_int(node, "q_num_heads", 0) if flat else q.shape[1]
    keys = get_int(node, "kv_num_heads", 0) if flat else k.shape[1]
    depth = q.shape[-1]
    if not isinstance(queries, int) or not isinstance(keys, int) or not isinstance(depth, int) or not queries * keys:
        return None
    return _Heads(queries, keys, depth // queries if flat else depth, flat)


def _lengths(node: ir.Node, heads: _Heads) -> Lengths | None:
    """None where one is not known or a mask or cache does not fit."""
    mask, past, nonpad = input_of(node, 3), input_of(node, 4), input_of(node, 6)
    axis = 1 if heads.flat else 2
    q, k = static_shape(node.inputs[0]), static_shape(node.inputs[1])
    cache, given, valid = (None if v is None else static_shape(v) for v in (past, mask, nonpad))
    if q is None or k is None or (past is not None and (cache is None or len(cache) != 4)):
        return None
    before = cache[2] if cache is not None else 0
    lengths = Lengths(q[0], q[axis], k[axis] + before, before)
    if nonpad is not None and valid != (lengths.batch,):
        return None
    if mask is None:
        return lengths
    if mask.dtype not in (ir.DataType.BOOL, ir.DataType.FLOAT):
        return None
    if given is None or not 0 < len(given) <= 4 or given[-1] > lengths.keys:
        return None
    whole = (lengths.batch, heads.queries, lengths.queries)
    fits = all(d in (1, size) for d, size in zip(given[-2::-1], whole[::-1], strict=False))
    return lengths if fits else None


def _split_heads(site: Site, index: int, heads: _Heads) -> ir.Value:
    value = site.node.inputs[index]
    assert value is not None
    if not heads.flat:
        return value
    role = ("q", "k", "v")[index]
    number = heads.queries if index == 0 else heads.keys
    parted = site.reshape(value, (0, 0, number, -1), f"{role}/heads")
    return site.op("Transpose", [parted], role, perm=[0, 2, 1, 3])


def _plain(site: Site, q: ir.Value, k: ir.Value, v: ir.Value, mask: Term | None, causal: bool) -> ir.Value:
    inputs = [q, k, v] if mask is None else [q, k, v, as_value(site, mask, "mask")]
    attributes: dict[str, Attribute] = {"is_causal": 1} if causal else {}
    if "scale" in site.node.attributes:
        attributes["scale"] = get_float(site.node, "scale", 0.0)
    return site.op("Attention", inputs, "attention", **attributes)


def _written_out(
    site: Site, q: ir.Value, k: ir.Value, v: ir.Value, mask: Term | None, heads: _Heads, lengths: Lengths
) -> ir.Value:
    node = site.node
    scale = get_float(node, "scale", 0.0) or 1 / math.sqrt(heads.depth)
    cap, mode = get_float(node, "softcap", 0.0), get_int(node, "qk_matmul_output_mode", 0)
    shared = heads.queries != heads.keys
    stages: dict[int, ir.Value] = {}
    query = site.op("Mul", [q, site.constant("scale", np.asarray(scale, np.float32))], "scaled")
    key = site.op("Transpose", [k], "key_transposed", perm=[0, 1, 3, 2])
    if shared:
        query = site.reshape(query, (0, heads.keys, -1, heads.depth), "grouped")
    scores = site.op("MatMul", [query, key], "scores")
    if shared:
        scores = site.reshape(scores, (0, heads.queries, lengths.queries, lengths.keys), "scores_by_head")
    stages[0] = stages[1] = scores
    if cap > 0:
        number = site.constant("cap", np.asarray(cap, np.float32))
        tanh = site.op("Tanh", [site.op("Div", [scores, number], "in_caps")], "tanh")
        stages[1] = scores = site.op("Mul", [tanh, number], "capped")
    stages[2] = scores if mask is None else _masked(site, scores, mask, -np.inf)
    scores = scores if mask is None else _masked(site, scores, mask, _FLOOR)
    weights = site.op("Softmax", [scores], "weights", axis=-1)
    alive = None if mask is None else _alive(site, mask)
    if alive is not None:
        weights = site.op("Mul", [weights, alive], "weights_or_zero")
    stages[3] = weights
    if is_read(node, 3):
        take_over(node.outputs[3], "Identity", [stages[mode]])
    if not shared:
        return site.op("MatMul", [weights, v], "attention")
    weights = site.reshape(weights, (0, heads.keys, -1, lengths.keys), "weights_grouped")
    by_group = site.op("MatMul", [weights, v], "by_group")
    return site.reshape(by_group, (0, heads.queries, lengths.queries, -1), "attention")


def _masked(site: Site, scores: ir.Value, mask: Term, never: float | np.float32) -> ir.Value:
    """scores plus the mask, `never` where nothing may be seen."""
    role = "masked" if np.isinf(never) else "floored"
    number = np.asarray(never, np.float32)
    if isinstance(mask, np.ndarray):
        added = np.where(mask, np.float32(0), number) if mask.dtype == bool else np.maximum(mask, number)
        return site.op("Add", [scores, site.constant(f"{role}/mask", added.astype(np.float32))], role)
    limit = site.constant(f"{role}/never", number)
    if mask.dtype == ir.DataType.BOOL:
        added_value = site.op("Where", [mask, site.constant("zero", np.float32(0)), limit], f"{role}/bias")
    else:
        added_value = mask if np.isinf(never) else site.op("Max", [mask, limit], f"{role}/bias")
    return site.op("Add", [scores, added_value], role)


def _alive(site: Site, mask: Term) -> ir.Value | None:
    """1 for a query that sees a key, 0 for one that sees none; None if all see some."""
    last = site.constant("keys_axis", np.asarray([-1], np.int64))
    if isinstance(mask, np.ndarray):
        seen = mask if mask.dtype == bool else mask > _NEVER
        rows = seen.any(-1, keepdims=True)
        return None if rows.all() else site.constant("alive", rows.astype(np.float32))
    if mask.dtype == ir.DataType.BOOL:
        numbers = site.op("Cast", [mask], "seen", to=ir.DataType.FLOAT.value)
        return site.op("ReduceMax", [numbers, last], "alive", keepdims=1)
    best = site.op("ReduceMax", [mask, last], "best", keepdims=1)
    seen_value = site.op("Greater", [best, site.constant("forbidden", np.asarray(_NEVER))], "sees")
    return site.op("Cast", [seen_value], "alive", to=ir.DataType.FLOAT.value)

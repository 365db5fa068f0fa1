"""The attention operators of ONNX Runtime's own domain in terms of the standard ones.

Reference: github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md; where its text leaves something open,
what ONNX Runtime computes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, get_float, get_int, get_str, input_of, rank, static_shape, take_over
from edgeport.passes.site import Site, is_read


def rotary_embedding(site: Site) -> bool:
    """RotaryEmbedding(x, position_ids, cos, sin): the standard one with its inputs in another order."""
    node = site.node
    x, positions, cos, sin = node.inputs[:4]
    if get_float(node, "scale", 1.0) != 1.0 or get_int(node, "is_packed_batching", 0) or x is None or cos is None:
        return False
    shape, table, at = static_shape(x), static_shape(cos), static_shape(positions)
    if shape is None or table is None or at is None or positions is None or len(shape) not in (3, 4):
        return False
    if len(at) == 1:
        positions = _positions(site, shape[0], shape[-2], positions)
    turning = get_int(node, "rotary_embedding_dim", 0)
    attributes: dict[str, Attribute] = {"interleaved": get_int(node, "interleaved", 0)}
    if turning:
        attributes["rotary_embedding_dim"] = turning
    if len(shape) == 3:
        heads = get_int(node, "num_heads", 0) or (0 if turning else shape[2] // (2 * table[1]))
        if not heads:
            return False
        attributes["num_heads"] = heads
    take_over(node.outputs[0], "RotaryEmbedding", [x, cos, sin, positions], attributes)
    return True


def _positions(site: Site, batch: int, length: int, start: ir.Value | None) -> ir.Value:
    """[B,S]: 0, 1, .. for every sample, counted from `start` [1]."""
    count = site.constant("count", np.tile(np.arange(length, dtype=np.int64), (batch, 1)))
    return count if start is None else site.op("Add", [count, start], "positions")


def multi_head_attention(site: Site) -> bool:
    """MultiHeadAttention of separate 3-D query, key and value; a padding mask is [B,T]."""
    node = site.node
    query, key, value, bias, padding, added, past_key, past_value = (input_of(node, i) for i in range(8))
    shapes = [static_shape(v) for v in (query, key, value)]
    if any(s is None or len(s) != 3 for s in shapes) or len(node.inputs) > 8 or is_read(node, 3):
        return False
    heads, causal = get_int(node, "num_heads", 0), bool(get_int(node, "unidirectional", 0))
    (batch, length, width), (_, keys, _), (_, _, value_width) = (s or () for s in shapes)
    past = static_shape(past_key)
    if (past_key is not None and past is None) or (causal and past_key is None and length != keys):
        return False
    if padding is not None and static_shape(padding) != (batch, keys + (past[2] if past else 0)):
        return False
    parts: list[ir.Value | None] = [query, key, value]
    if bias is not None:
        sizes = site.constant("bias/parts", np.asarray([width, width, value_width], np.int64))
        biases = site.several("Split", [bias, sizes], ("q_bias", "k_bias", "v_bias"), axis=0)
        parts = [site.op("Add", [v, b], f"{r}_biased") for v, b, r in zip(parts, biases, "qkv", strict=True)]
    mask = added
    if padding is not None:
        dtype = ir.DataType.FLOAT if query is None or query.dtype is None else query.dtype
        zero, low = (
            site.constant(n, np.asarray(v, dtype.numpy()))
            for n, v in (("zero", 0), ("low", get_float(node, "mask_filter_value", -1e4)))
        )
        valid = site.op("Cast", [padding], "valid", to=ir.DataType.BOOL.value)
        axes = site.constant("mask_axes", np.asarray([1, 2], np.int64))
        mask = site.op("Unsqueeze", [site.op("Where", [valid, zero, low], "padding"), axes], "padding_mask")
        mask = mask if added is None else site.op("Add", [mask, added], "mask")
    attributes: dict[str, Attribute] = {"q_num_heads": heads, "kv_num_heads": heads, "is_causal": int(causal)}
    _take_over(site, [*parts, mask, past_key, past_value], attributes)
    return True


def group_query_attention(site: Site) -> bool:
    """GroupQueryAttention over a whole prompt, without a cache: causal, so the lengths of the samples don't matter."""
    node = site.node
    query, key, value, past = (input_of(node, i) for i in range(4))
    cos, sin, positions = input_of(node, 7), input_of(node, 8), input_of(node, 9)
    shape, further, cache = static_shape(query), any(v is not None for v in node.inputs[9:]), static_shape(past)
    if shape is None or len(shape) != 3 or key is None or value is None or query is None:
        return False
    if (further and positions is None) or (past is not None and (cache is None or cache[2] != 0)):
        return False
    unread = {"smooth_softmax": 0, "local_window_size": -1, "qk_output": 0, "kv_cache_bit_width": 0}
    if any(get_int(node, name, default) != default for name, default in unread.items()) or is_read(node, 3):
        return False
    if any(get_str(node, name, "NONE") != "NONE" for name in ("k_quant_type", "v_quant_type")) or rank(key) != 3:
        return False
    if any(v is not None for v in node.inputs[10:]):
        return False
    heads, shared = get_int(node, "num_heads", 0), get_int(node, "kv_num_heads", 0)
    if not heads or not shared:
        return False
    if get_int(node, "do_rotary", 0):
        at = positions if positions is not None else _positions(site, shape[0], shape[1], None)
        turned: dict[str, Attribute] = {"interleaved": get_int(node, "rotary_interleaved", 0)}
        table, size = static_shape(cos), shape[2] // heads
        if table is None:
            return False
        if 2 * table[1] != size:
            turned["rotary_embedding_dim"] = 2 * table[1]
        query = site.op("RotaryEmbedding", [query, cos, sin, at], "q_turned", num_heads=heads, **turned)
        key = site.op("RotaryEmbedding", [key, cos, sin, at], "k_turned", num_heads=shared, **turned)
    attributes: dict[str, Attribute] = {"q_num_heads": heads, "kv_num_heads": shared, "is_causal": 1}
    cap = get_float(node, "softcap", 0.0)
    if cap:
        attributes["softcap"] = cap
    _take_over(site, [query, key, value], attributes)
    return True


def _take_over(site: Site, inputs: list[ir.Value | None], attributes: dict[str, Attribute]) -> None:
    """The standard Attention with all three outputs."""
    node = site.node
    scale = get_float(node, "scale", 0.0)
    if scale:
        attributes["scale"] = scale
    while inputs and inputs[-1] is None:
        inputs.pop()
    outputs = site.several("Attention", inputs, ("y", "key", "value"), **attributes)
    for index in (1, 2):
        if is_read(node, index):
            take_over(node.outputs[index], "Identity", [outputs[index]])
    take_over(node.outputs[0], "Identity", [outputs[0]])

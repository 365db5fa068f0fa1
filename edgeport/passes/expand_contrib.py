"""Operators of ONNX Runtime's own domain, which its transformer tools write, become standard ones.

    x --> com.microsoft::BiasGelu(b) --> y                  ==>    x --> Add(b) --> Gelu --> y
    x, s --> com.microsoft::SkipLayerNormalization --> y    ==>    x --> Add(s) --> LayerNormalization --> y

Also FastGelu, Gelu, QuickGelu, FusedMatMul, SkipSimplifiedLayerNormalization, SimplifiedLayerNormalization (which ONNX
Runtime keeps in the standard domain), RotaryEmbedding, MultiHeadAttention and GroupQueryAttention without a cache. A
form with an attribute, input or output that is not read here stays as it is and is refused by the targets. Reference:
github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.contrib_attention import group_query_attention, multi_head_attention, rotary_embedding
from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.passes.edit import get_float, get_int, input_of, rank, take_over
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read

DOMAIN = "com.microsoft"


@register("expand_contrib")
def expand_contrib(model: ir.Model) -> bool:
    """Expands what can be; shapes become known from one to the next."""
    changed = _rename(model)
    if model.opset_imports.get("") != CANONICAL_OPSET:
        return changed
    while _expand_all(model):
        changed = True
        infer_shapes(model)
    return changed


def _rename(model: ir.Model) -> bool:
    """SimplifiedLayerNormalization moves to its makers' domain, so that the standard opset can be converted."""
    found = [n for n in model.graph.all_nodes() if n.op_type == "SimplifiedLayerNormalization" and not n.domain]
    for node in found:
        node.domain = DOMAIN
        model.opset_imports.setdefault(DOMAIN, 1)
    return bool(found)


def _expand_all(model: ir.Model) -> bool:
    changed = False
    for node in tuple(model.graph.all_nodes()):
        rule = _RULES.get(node.op_type) if node.domain == DOMAIN and node.graph is not None else None
        if rule is not None:
            known, expand = rule
            changed |= set(node.attributes) <= known and expand(Site(model, node))
    return changed


def _gelu(site: Site) -> bool:
    node = site.node
    x, bias = node.inputs[0], input_of(node, 1)
    if bias is not None:
        x = site.op("Add", [x, bias], "biased")
    approximate = "tanh" if node.op_type == "FastGelu" else "none"
    take_over(node.outputs[0], "Gelu", [x], {"approximate": approximate})
    return True


def _quick_gelu(site: Site) -> bool:
    take_over(site.node.outputs[0], "Swish", [site.node.inputs[0]], {"alpha": get_float(site.node, "alpha", 1.702)})
    return True


def _fused_matmul(site: Site) -> bool:
    node = site.node
    operands = []
    for index, side in enumerate("AB"):
        value = node.inputs[index]
        dims = rank(value)
        if get_int(node, f"transBatch{side}", 0):
            return False
        if get_int(node, f"trans{side}", 0):
            if dims is None:
                return False
            if dims > 1:
                perm = [*range(dims - 2), dims - 1, dims - 2]
                value = site.op("Transpose", [value], f"{side.lower()}_transposed", perm=perm)
        operands.append(value)
    alpha, y = get_float(node, "alpha", 1.0), node.outputs[0]
    if alpha == 1.0:
        take_over(y, "MatMul", operands)
    else:
        take_over(y, "Mul", [site.op("MatMul", operands, "product"), site.constant("alpha", np.float32(alpha))])
    return True


def _skip_norm(site: Site) -> bool:
    """Outputs: the norm, its mean and inverse deviation, the sum that it is of."""
    node = site.node
    simplified = "Simplified" in node.op_type
    x, skip, gamma = node.inputs[:3]
    beta, bias = (None, input_of(node, 3)) if simplified else (input_of(node, 3), input_of(node, 4))
    shapes = [None if v is None or v.shape is None else list(v.shape) for v in (x, skip)]
    if any(is_read(node, i) for i in (1, 2)) or len(node.inputs) > 5 or None in shapes or shapes[0] != shapes[1]:
        return False
    whole = site.op("Add", [x, skip], "sum")
    if bias is not None:
        whole = site.op("Add", [whole, bias], "biased_sum")
    if is_read(node, 3):
        take_over(node.outputs[3], "Identity", [whole])
    inputs = [whole, gamma] if beta is None else [whole, gamma, beta]
    epsilon = get_float(node, "epsilon", 1e-12 if not simplified else 1e-6)
    name = "RMSNormalization" if simplified else "LayerNormalization"
    take_over(node.outputs[0], name, inputs, {"axis": -1, "epsilon": epsilon})
    return True


def _simplified_norm(site: Site) -> bool:
    node = site.node
    if is_read(node, 1) or len(node.inputs) != 2:
        return False
    attributes = {"axis": get_int(node, "axis", -1), "epsilon": get_float(node, "epsilon", 1e-5)}
    take_over(node.outputs[0], "RMSNormalization", node.inputs, attributes)
    return True


_EPSILON = frozenset({"epsilon"})
_RULES: dict[str, tuple[frozenset[str], Callable[[Site], bool]]] = {
    "BiasGelu": (frozenset(), _gelu),
    "FastGelu": (frozenset(), _gelu),
    "Gelu": (frozenset(), _gelu),
    "QuickGelu": (frozenset({"alpha"}), _quick_gelu),
    "FusedMatMul": (frozenset({"alpha", "transA", "transB", "transBatchA", "transBatchB"}), _fused_matmul),
    "SkipLayerNormalization": (_EPSILON, _skip_norm),
    "SkipSimplifiedLayerNormalization": (_EPSILON, _skip_norm),
    "SimplifiedLayerNormalization": (_EPSILON | {"axis", "stash_type"}, _simplified_norm),
    "RotaryEmbedding": (
        frozenset({"interleaved", "num_heads", "rotary_embedding_dim", "scale", "is_packed_batching"}),
        rotary_embedding,
    ),
    "MultiHeadAttention": (
        frozenset({"num_heads", "mask_filter_value", "scale", "unidirectional"}),
        multi_head_attention,
    ),
    "GroupQueryAttention": (
        frozenset(
            {
                "num_heads", "kv_num_heads", "scale", "softcap", "local_window_size", "do_rotary", "rotary_interleaved",
                "smooth_softmax", "qk_output", "k_quant_type", "v_quant_type", "kv_cache_bit_width",
            }
        ),
        group_query_attention,
    ),
}  # fmt: skip
"""Operator -> (attributes that are read, expansion)."""

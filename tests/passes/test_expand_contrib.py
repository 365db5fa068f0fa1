"""ONNX Runtime's own operators against the standard ones they become; ONNX Runtime runs both."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

MS = "com.microsoft"


def model(
    op: str, inputs: dict[str, np.ndarray | None], outputs: str, opset: int = 17, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One node of ONNX Runtime's domain, or of the standard one if the name says so, and a feed for every input."""
    domain, name = ("", op[5:]) if op.startswith("onnx:") else (MS, op)
    feeds = {n: a for n, a in inputs.items() if a is not None}
    node = helper.make_node(
        name, [n if a is not None else "" for n, a in inputs.items()], outputs.split(","), domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [helper.make_tensor_value_info(n, 1, None) for n in outputs.split(",") if n],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10), feeds


def x(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


A, B, W, V = x(2, 3, 8), x(2, 3, 8, seed=1), x(8, seed=2), x(8, seed=3)
SIMPLE = {
    "BiasGelu": ("BiasGelu", {"x": A, "b": W}, "y", {}),
    "FastGelu": ("FastGelu", {"x": A}, "y", {}),
    "FastGelu with bias": ("FastGelu", {"x": A, "b": W}, "y", {}),
    "Gelu": ("Gelu", {"x": A}, "y", {}),
    "QuickGelu": ("QuickGelu", {"x": A}, "y", {}),
    "QuickGelu with alpha": ("QuickGelu", {"x": A}, "y", {"alpha": 1.3}),
    "FusedMatMul": ("FusedMatMul", {"a": A, "b": B}, "y", {"alpha": 0.3, "transB": 1}),
    "FusedMatMul of a transposed": ("FusedMatMul", {"a": A, "b": B}, "y", {"transA": 1}),
    "SkipLayerNormalization": ("SkipLayerNormalization", {"x": A, "s": B, "g": W}, "y", {"epsilon": 1e-3}),
    "SkipLayerNormalization, all": (
        "SkipLayerNormalization",
        {"x": A, "s": B, "g": W, "b": V, "c": W},
        "y,,,z",
        {"epsilon": 1e-3},
    ),
    "SkipSimplifiedLayerNormalization": (
        "SkipSimplifiedLayerNormalization",
        {"x": A, "s": B, "g": W, "b": V},
        "y,,,z",
        {"epsilon": 1e-3},
    ),
    "SimplifiedLayerNormalization": ("onnx:SimplifiedLayerNormalization", {"x": A, "g": W}, "y", {"epsilon": 1e-3}),
}


@pytest.mark.parametrize("name", SIMPLE)
def test_simple(check, name):
    op, inputs, outputs, attributes = SIMPLE[name]
    proto, feeds = model(op, inputs, outputs, **attributes)
    checked = check(proto, feeds=feeds)
    assert all(node.domain == "" for node in checked.model.graph)


TABLE = {"cos": x(9, 4, seed=4), "sin": x(9, 4, seed=5)}
ROTARY = {
    "by head": ({"x": x(2, 3, 5, 8), "p": np.arange(10).reshape(2, 5) % 7}, {}),
    "hidden": ({"x": x(2, 5, 24), "p": np.arange(10).reshape(2, 5) % 7}, {}),
    "from an offset": ({"x": x(2, 5, 24), "p": np.array([2])}, {"interleaved": 1}),
    "partial": ({"x": x(2, 3, 5, 12), "p": np.array([0])}, {"rotary_embedding_dim": 8, "num_heads": 3}),
}


@pytest.mark.parametrize("name", ROTARY)
def test_rotary_embedding(check, name):
    inputs, attributes = ROTARY[name]
    proto, feeds = model("RotaryEmbedding", {**inputs, **TABLE}, "y", **attributes)
    assert all(node.domain == "" for node in check(proto, feeds=feeds).model.graph)


Q, K, VALUE = x(2, 5, 12), x(2, 7, 12, seed=6), x(2, 7, 12, seed=7)
VALID = (np.arange(7) < np.array([[4], [7]])).astype(np.int32)
MULTI: dict[str, tuple[dict[str, np.ndarray | None], str, dict[str, Any]]] = {
    "plain": ({}, "y", {}),
    "bias": ({"b": x(36, seed=8)}, "y", {"scale": 0.4}),
    "padding": ({"b": None, "m": VALID}, "y", {}),
    "added": ({"b": None, "m": None, "a": x(1, 3, 5, 7, seed=9)}, "y", {}),
    "cache": (
        {"b": x(36, seed=8), "m": None, "a": None, "pk": x(2, 3, 2, 4, seed=1), "pv": x(2, 3, 2, 4, seed=2)},
        "y,key,value",
        {},
    ),
}


@pytest.mark.parametrize("name", MULTI)
def test_multi_head_attention(check, name):
    further, outputs, attributes = MULTI[name]
    inputs = {"q": Q, "k": K, "v": VALUE, **further}
    proto, feeds = model("MultiHeadAttention", inputs, outputs, num_heads=3, **attributes)
    checked = check(proto, feeds=feeds)
    assert checked.ops["Attention"] == 1
    assert all(node.domain == "" for node in checked.model.graph)


def test_causal_multi_head_attention(check):
    proto, feeds = model("MultiHeadAttention", {"q": K, "k": K, "v": VALUE}, "y", num_heads=3, unidirectional=1)
    assert check(proto, feeds=feeds).ops["Attention"] == 1


@pytest.mark.parametrize("rotary", [0, 1])
@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_group_query_attention_of_a_prompt(check, rotary, cap):
    inputs = {"q": x(2, 5, 64), "k": x(2, 5, 32, seed=1), "v": x(2, 5, 32, seed=2), "pk": None, "pv": None}
    inputs |= {"n": np.array([4, 4], np.int32), "total": np.array(5, np.int32)}
    inputs |= {"cos": x(9, 8, seed=4), "sin": x(9, 8, seed=5)} if rotary else {}
    attributes = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": rotary, "softcap": cap}
    proto, feeds = model("GroupQueryAttention", inputs, "y,key,value", **attributes)
    for name in ("n", "total"):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(feeds[name], name))
    checked = check(proto, feeds=feeds)
    assert all(node.domain == "" for node in checked.model.graph)


def test_a_form_that_is_not_read_stays(check):
    proto, feeds = model("SkipLayerNormalization", {"x": A, "s": x(1, 3, 8), "g": W}, "y")
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", 1, [2, 3, 8]))
    assert check(proto, feeds=feeds).ops == {"SkipLayerNormalization": 1}

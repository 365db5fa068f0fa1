"""Operators that are written out in others: the numbers stay, and no operator that no target has is left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

HEAD = '<ir_version: 10, opset_import: ["": 24]>'


def rotary(shape: list[int], *, positions: bool, per_sample: bool = False, **attributes: int) -> onnx.ModelProto:
    """A RotaryEmbedding over x of `shape`, length 5 and head size 8."""
    half = (attributes.get("rotary_embedding_dim") or 8) // 2
    table = [9, half] if positions else [2, 5, half]
    inputs = [helper.make_tensor_value_info("x", 1, shape)]
    inputs += [helper.make_tensor_value_info(n, 1, table) for n in ("cos", "sin") if per_sample]
    names = ["x", "cos", "sin"]
    if positions:
        inputs.append(helper.make_tensor_value_info("at", 7, [2, 5]))
        names.append("at")
    node = helper.make_node("RotaryEmbedding", names, ["y"], **attributes)
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", 1, shape)])
    if not per_sample:
        random = np.random.default_rng(1)
        for name in ("cos", "sin"):
            graph.initializer.append(onnx.numpy_helper.from_array(random.random(table, np.float32), name))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=10)


@pytest.mark.parametrize("shape", [[2, 3, 5, 8], [2, 5, 24]], ids=str)
@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("attributes", [{}, {"rotary_embedding_dim": 4}, {"interleaved": 1}], ids=str)
def test_rotary_embedding(check, shape, positions, attributes):
    heads = {"num_heads": 3} if len(shape) == 3 else {}
    checked = check(rotary(shape, positions=positions, **attributes, **heads))
    assert "RotaryEmbedding" not in checked.ops
    assert "Transpose" not in checked.ops
    assert checked.ops["Mul"] == 2, "the tables are constants"
    assert "Neg" not in checked.ops


def test_rotary_embedding_with_fed_tables(check):
    checked = check(rotary([2, 3, 5, 8], positions=False, per_sample=True))
    assert checked.ops["Neg"] == 1


@pytest.mark.parametrize("axes", [None, [1], [0, 1], [-1]], ids=str)
def test_mean_variance_normalization(check, axes):
    given = "" if axes is None else f"<axes = {axes}>"
    body = f"{HEAD} g (float[2,3,4,5] x) => (float[2,3,4,5] y) {{ y = MeanVarianceNormalization{given}(x) }}"
    checked = check(body)
    assert "MeanVarianceNormalization" not in checked.ops


@pytest.mark.parametrize("sizes", [[8, 0], [0, 8], [3, 0, 5]], ids=str)
def test_empty_parts(check, sizes):
    names = [f"p{i}" for i in range(len(sizes))]
    body = f"{', '.join(names)} = Split<axis = 1>(x, sizes) c = Concat<axis = 1>({', '.join(names)}) y = Neg(c)"
    checked = check(
        f"{HEAD} g (float[2,8] x) => (float[2,8] y) {{ {body} }}", initializers={"sizes": np.array(sizes, np.int64)}
    )
    assert checked.ops.get("Split", 0) == (1 if len(sizes) == 3 else 0)


def test_attention_of_unknown_lengths_stays(check):
    body = "y = Attention<is_causal = 1>(q, k, v, m)"
    inputs = "float[1,2,S,8] q, float[1,2,T,8] k, float[1,2,T,8] v, float[1,T] m"
    proto = onnx.parser.parse_model(f"{HEAD} g ({inputs}) => (float[1,2,S,8] y) {{ {body} }}")
    feeds = {n: np.ones((1, 2, 1, 8), np.float32) for n in "qkv"} | {"m": np.zeros((1, 1), np.float32)}
    assert check(proto, feeds=feeds).ops == {"Attention": 1}


def test_heads_are_split_and_joined(check):
    body = "y = Attention<q_num_heads = 4, kv_num_heads = 2>(q, k, v)"
    checked = check(f"{HEAD} g (float[B,S,32] q, float[B,S,16] k, float[B,S,16] v) => (float[B,S,32] y) {{ {body} }}")
    assert checked.ops == {"Attention": 1, "Reshape": 4, "Transpose": 4}

"""Products, normalizations, attention and recurrent layers in Core AI's runtime, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreai_graphs import Graph, assert_same, normal, run

BATCH, INPUTS, HIDDEN = 2, 3, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (4, 3)), ((3, 4), (4,)), ((2, 3, 4), (4, 5))],
    ids=str,
)
@pytest.mark.parametrize("constant", [True, False])
def test_matmul(tmp_path: Path, shapes: Any, constant: bool) -> None:
    g, y = Graph(), normal(*shapes[1], seed=1)
    g.op("MatMul", g.input("a", normal(*shapes[0])), g.const(y) if constant else g.input("b", y), out="y")
    assert_same(g, ["y"], tmp_path)


def test_gemm(tmp_path: Path) -> None:
    g = Graph()
    x, y, z = g.input("a", normal(4, 3)), g.const(normal(5, 4, seed=1)), g.const(normal(5, seed=2))
    outputs = [g.op("Gemm", x, y, z, alpha=0.5, beta=2.0, transA=1, transB=1), g.op("Gemm", x, y, transA=1, transB=1)]
    assert_same(g, outputs, tmp_path)


def test_normalizations(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 6, 4, 3) * 3 + 1)
    six = [g.const(normal(6, seed=i)) for i in (1, 2, 3)]
    variance = g.const(np.abs(normal(6, seed=4)) + 0.1)
    last = [g.const(normal(3, seed=i)) for i in (5, 6)]
    outputs = [
        g.op("BatchNormalization", x, *six, variance, epsilon=1e-3),
        g.op("InstanceNormalization", x, *six[:2]),
        g.op("GroupNormalization", x, *six[:2], num_groups=3),
        g.op("LayerNormalization", x, *last),
        g.op("LayerNormalization", x, g.const(normal(4, 3, seed=7)), axis=2, epsilon=1e-2),
        g.op("RMSNormalization", x, last[0]),
    ]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal", "causal bool"])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_attention(tmp_path: Path, mask: str, heads: tuple[int, int]) -> None:
    g = Graph()
    q = g.input("q", normal(2, heads[0], 3, 8))
    k, v = (g.input(n, normal(2, heads[1], 5, 8, seed=i)) for i, n in enumerate("kv", 1))
    operands = [q, k, v]
    if "bool" in mask:
        operands.append(g.input("m", np.arange(2 * 3 * 5).reshape(2, 1, 3, 5) % 4 != 0))
    if mask == "float":
        operands.append(
            g.input("m", np.where(np.arange(15).reshape(3, 5) % 4 == 1, -np.inf, normal(3, 5)).astype("f4"))
        )
    g.op("Attention", *operands, out="y", is_causal=int("causal" in mask))
    assert_same(g, ["y"], tmp_path)


def test_a_query_that_sees_nothing_gives_zeros(tmp_path: Path) -> None:
    g = Graph()
    q, k, v = (g.input(n, normal(1, 1, 3, 4, seed=i)) for i, n in enumerate("qkv"))
    mask = np.asarray([[1, 1, 0], [0, 0, 0], [0, 1, 1]], bool)
    g.op("Attention", q, k, v, g.input("m", mask), out="y")
    got = run(g, ["y"], tmp_path)["y"]
    assert not got[0, 0, 1].any()
    assert np.isfinite(got).all()


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "optional", "attributes"),
    [
        ("LSTM", "", {}),
        ("LSTM", "B h c P", {}),
        ("LSTM", "B", {"clip": 0.2}),
        ("LSTM", "B", {"input_forget": 1}),
        ("GRU", "", {}),
        ("GRU", "B h", {"linear_before_reset": 1}),
        ("RNN", "B h", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("lengths", [False, True])
def test_recurrent(
    tmp_path: Path, op: str, direction: str, optional: str, lengths: bool, attributes: dict[str, Any]
) -> None:
    directions, gates, g = 2 if direction == "bidirectional" else 1, GATES[op], Graph()
    if lengths and "clip" in attributes:
        pytest.skip("one of both is enough")
    shapes = {
        "W": (directions, gates * HIDDEN, INPUTS),
        "R": (directions, gates * HIDDEN, HIDDEN),
        "B": (directions, 2 * gates * HIDDEN),
        "h": (directions, BATCH, HIDDEN),
        "c": (directions, BATCH, HIDDEN),
        "P": (directions, 3 * HIDDEN),
    }
    x, inputs = g.input("x", normal(3, BATCH, INPUTS)), []
    for seed, name in enumerate(("W", "R", "B", "l", "h", *(["c", "P"] if op == "LSTM" else [])), 1):
        if name == "l":
            inputs.append(g.input("l", np.asarray([3, 1], np.int32)) if lengths else "")
        elif name in f"W R {optional}":
            array = normal(*shapes[name], seed=seed) * 0.5
            inputs.append(g.input(name, array) if name in "hc" else g.const(array, name))
        else:
            inputs.append("")
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    g.op(op, x, *inputs, out=outputs, hidden_size=HIDDEN, direction=direction, **attributes)
    assert_same(g, outputs, tmp_path)

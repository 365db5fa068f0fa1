"""Operators that this target writes in a way of its own, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from executorch_graphs import Graph, assert_same, normal


@pytest.mark.parametrize(("axis", "largest"), [(-1, 1), (1, 0)])
def test_top_k_of_equal_elements(tmp_path: Path, axis: int, largest: int) -> None:
    g = Graph()
    x = g.input("x", np.random.default_rng(0).integers(0, 4, (2, 9, 7)).astype(np.float32))
    g.op("TopK", x, g.const(np.asarray([5])), axis=axis, largest=largest, out=["v", "i"])
    assert_same(g, ["v", "i"], tmp_path)


def test_products_of_stacks(tmp_path: Path) -> None:
    g = Graph()
    a, b = g.input("a", normal(2, 3, 4, 5)), g.input("b", normal(2, 3, 5, 6, seed=1))
    outputs = [
        g.op("MatMul", a, b),
        g.op("MatMul", a, g.input("c", normal(5, 2, seed=2))),
        g.op("MatMul", a, g.const(normal(5, 2, seed=3))),
        g.op("MatMul", g.input("d", normal(5)), g.const(normal(5, 2, seed=4))),
    ]
    artifact = assert_same(g, outputs, tmp_path)
    assert artifact.facts["undelegated"].get("aten::expand_copy.out", 0) <= 1  # b of one height is one stack


def test_linear_layers_with_shared_weights_and_biases_of_any_form(tmp_path: Path) -> None:
    g = Graph()
    weight, x = g.const(normal(8, 8, seed=1)), g.input("x", normal(1, 3, 8))
    y = g.op("Add", g.const(normal(1, 1, 8, seed=2)), g.op("MatMul", x, weight))
    z = g.op("Add", g.op("MatMul", y, weight), g.const(normal(3, 8, seed=3)))
    w = g.op("MatMul", z, weight, out="w")
    outputs = [g.op("Relu", w), g.op("Add", w, g.const(normal(8, seed=4))), w]
    artifact = assert_same(g, outputs, tmp_path, tolerance=1e-4)
    assert artifact.facts["undelegated"] == {}


def test_attention_with_masks(tmp_path: Path) -> None:
    g = Graph()
    q, k, v = (g.input(n, normal(1, 2, 4, 8, seed=i)) for i, n in enumerate("qkv"))
    seen = np.tril(np.ones((1, 1, 4, 4), bool))
    seen[..., 2, :] = False
    outputs = [
        g.op("Attention", q, k, v, g.input("mask", np.where(seen, 0, -np.inf).astype(np.float32)), out="f"),
        g.op("Attention", q, k, v, g.input("seen", seen), out="b"),
        g.op("Attention", q, k, v, is_causal=1, out="c"),
    ]
    assert_same(g, outputs, tmp_path)


def test_ends_that_are_one_another(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3))
    outputs = [
        g.op("Identity", x, out="y"),
        g.op("Identity", g.const(normal(2)), out="z"),
        g.op("Identity", x, out="w"),
    ]
    assert_same(g, [*outputs, g.op("Relu", x, out="r")], tmp_path)


def test_types_of_inputs(tmp_path: Path) -> None:
    g = Graph()
    i, b = g.input("i", np.asarray([0, 2, 1])), g.input("b", np.asarray([True, False, True]))
    outputs = [
        g.op("Gather", g.const(normal(3, 4)), i),
        g.op("Where", b, i, g.const(np.asarray(7))),
        g.op("Cast", g.input("u", np.asarray([0, 250], np.uint8)), to=1),
        g.op("Not", b),
    ]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize("windows", [{"pads": [1, 0, 1, 0, 1, 1]}, {"pads": [1] * 6}, {"dilations": [1, 2, 1]}])
def test_max_pools_over_three_axes(tmp_path: Path, windows: dict[str, list[int]]) -> None:
    g = Graph()
    y = g.op("MaxPool", g.input("x", normal(2, 3, 5, 6, 7)), kernel_shape=[2, 3, 2], strides=[2, 1, 1], **windows)
    assert_same(g, [y], tmp_path)

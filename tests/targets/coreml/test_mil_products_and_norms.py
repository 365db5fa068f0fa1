"""Matrix products and normalizations of Core ML packages against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal, run

from edgeport.quantize.plan import Plan

FP16 = Plan("fp16")
HALF = 2e-2
"""float16 has 11 bits: numbers of about 4 are off by up to 2e-3, and each result stems from several of them."""
SHAPES = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((1, 2, 3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (3, 4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("constant", ["left", "right", "none"])
def test_matmul(tmp_path: Path, shapes: tuple[tuple[int, ...], ...], constant: str) -> None:
    g = Graph()
    arrays = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    names = [
        g.const(a) if side == constant else g.input(side, a) for side, a in zip(("left", "right"), arrays, strict=True)
    ]
    g.op("MatMul", *names, out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["linear"] == (constant == "right" and len(shapes[1]) == 2)


@pytest.mark.parametrize("constant", ["left", "right", "none"])
def test_matmul_of_integers(tmp_path: Path, constant: str) -> None:
    g, a, b = Graph(), np.arange(6, dtype=np.int32).reshape(2, 3), np.arange(12, dtype=np.int32).reshape(3, 4)
    names = [g.const(v) if side == constant else g.input(side, v) for side, v in (("left", a), ("right", b))]
    g.op("MatMul", *names, out="y")
    assert_same(g, ["y"], tmp_path)


def test_a_bias_is_part_of_its_product(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("MatMul", g.input("x", normal(2, 3, 4)), g.const(normal(4, 5)))
    g.op("Relu", g.op("Add", g.const(normal(5)), x), out="y")
    kinds = assert_same(g, ["y"], tmp_path)
    assert (kinds["linear"], kinds["add"]) == (1, 0)


def test_a_bias_that_float16_cannot_hold_makes_its_product_float32(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("MatMul", g.input("x", normal(2, 4)), g.const(normal(4, 3)))
    g.op("Add", x, g.const(np.array([1e5, 2e5, 1], np.float32)), out="y")
    assert_same(g, ["y"], tmp_path, 1e-5, FP16)  # as in float32


def test_a_transpose_is_part_of_its_product(tmp_path: Path) -> None:
    g = Graph()
    k = g.op("Transpose", g.input("k", normal(1, 2, 5, 4)), perm=[0, 1, 3, 2])
    g.op("MatMul", g.input("q", normal(1, 2, 3, 4)), k, out="y")
    assert assert_same(g, ["y"], tmp_path)["transpose"] == 0


@pytest.mark.parametrize("plan", [None, FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_norm(tmp_path: Path, axis: int, plan: Plan | None) -> None:
    g = Graph()
    x, normalized = g.input("x", normal(2, 5, 6) * 3), (2, 5, 6)[axis % 3 :]
    scale, bias = g.const(normal(*normalized)), g.const(normal(6))
    outs = g.op("LayerNormalization", x, scale, bias, out=["a", "mean", "inverse"], axis=axis)
    g.op("LayerNormalization", x, g.input("s", normal(*normalized)), bias, out="b", axis=axis, epsilon=1e-12)
    g.op("RMSNormalization", x, scale, out="c", axis=axis)
    kinds = assert_same(g, [*outs, "b", "c"], tmp_path, 1e-5 if plan is None else HALF, plan)
    assert kinds["layer_norm"] == (2 if plan is None else 3)


def test_squares_that_float16_cannot_hold(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 8) * 3000)
    g.op("RMSNormalization", x, g.const(normal(8)), out="y")
    g.op("LayerNormalization", g.op("Mul", x, g.const(np.float32(0))), g.const(normal(8)), out="z", epsilon=1e-12)
    assert_same(g, ["y", "z"], tmp_path, HALF, FP16)


@pytest.mark.parametrize("plan", [None, FP16], ids=["fp32", "fp16"])
@pytest.mark.parametrize("spatial", [(7,), (3, 4), (2, 3, 4)], ids=str)
def test_norms_of_channels(tmp_path: Path, spatial: tuple[int, ...], plan: Plan | None) -> None:
    g = Graph()
    x = g.input("x", normal(2, 6, *spatial) * 2 + 1)
    scale, bias, mean, spread = (g.const(a) for a in (normal(6), normal(6, seed=1), normal(6, seed=2), np.arange(1, 7)))
    spread = g.const(np.arange(1, 7, dtype=np.float32))
    g.op("BatchNormalization", x, scale, bias, mean, spread, out="a")
    g.op("BatchNormalization", x, scale, bias, g.input("m", normal(6, seed=3)), spread, out="b")
    g.op("InstanceNormalization", x, scale, bias, out="c")
    g.op("InstanceNormalization", x, g.input("s", normal(6, seed=4)), bias, out="d")
    g.op("GroupNormalization", x, scale, bias, out="e", num_groups=3)
    g.op("LpNormalization", g.op("Relu", x), out="f", axis=2, p=1)
    g.op("LpNormalization", x, out="h", axis=1, p=2)
    assert_same(g, list("abcdefh"), tmp_path, 1e-5 if plan is None else HALF, plan)


@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("spatial", [(5, 4), (2, 3, 4)], ids=["plane", "volume"])
def test_local_response_norm(tmp_path: Path, size: int, spatial: tuple[int, ...]) -> None:
    g, x = Graph(), normal(2, 6, *spatial)
    g.op("LRN", g.input("x", x), out="y", size=size, alpha=0.2, beta=0.6, bias=1.5)
    # ONNX Runtime takes odd sizes of planes only. By the specification, of an even size one more channel after.
    square = np.pad(x.astype(np.float64) ** 2, ((0, 0), ((size - 1) // 2, size // 2), *((0, 0),) * len(spatial)))
    total = sum(square[:, i : i + 6] for i in range(size))
    got = run(g, ["y"], tmp_path)["y"]
    np.testing.assert_allclose(got, x / (1.5 + 0.2 / size * total) ** 0.6, rtol=1e-5)  # the power costs some ulp


def test_a_norm_of_zeros_is_zero(tmp_path: Path) -> None:
    g = Graph()
    g.op("LpNormalization", g.input("x", np.zeros((2, 3), np.float32)), out="y")
    assert_same(g, ["y"], tmp_path)

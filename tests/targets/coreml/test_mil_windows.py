"""Convolutions and pools of Core ML packages against ONNX Runtime over their attributes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.errors import ModelError
from edgeport.quantize.plan import Plan

FP16 = Plan("fp16")
HALF = 3e-2
"""float16 has 11 bits: inputs and results of about 4 are off by up to 2e-3 each, their sums of 50 products by 1e-2."""

CONV = [
    {"pads": p, "strides": s, "dilations": d}
    for p, s, d in itertools.product(([0, 0, 0, 0], [1, 0, 2, 1]), ([1, 1], [2, 1]), ([1, 1], [2, 2]))
] + [{"auto_pad": a, "strides": [2, 2]} for a in ("SAME_UPPER", "SAME_LOWER", "VALID")]


@pytest.mark.parametrize("attributes", CONV, ids=str)
def test_conv_2d(tmp_path: Path, attributes: dict[str, Any]) -> None:
    g = Graph()
    x = g.input("x", normal(1, 6, 11, 10))
    a = g.op("Conv", x, g.const(normal(12, 2, 3, 3, seed=1)), g.const(normal(12, seed=2)), group=3, **attributes)
    w = g.input("w", normal(4, 12, 3, 2, seed=3))  # computed weights, which MIL takes without dilations only
    g.op("Conv", a, w, out="y", dilations=[2, 2], pads=[2, 2, 2, 2])
    kinds = assert_same(g, ["y"], tmp_path, 1e-4)
    assert kinds["conv"] == 2


@pytest.mark.parametrize("spatial", [(9,), (4, 5, 6)], ids=["sequence", "volume"])
@pytest.mark.parametrize("plan", [None, FP16], ids=["fp32", "fp16"])
def test_conv_of_other_ranks(tmp_path: Path, spatial: tuple[int, ...], plan: Plan | None) -> None:
    g, n = Graph(), len(spatial)
    x = g.input("x", normal(2, 4, *spatial))
    a = g.op("Conv", x, g.const(normal(6, 2, *(3,) * n)), group=2, pads=[1] * 2 * n, dilations=[2] + [1] * (n - 1))
    g.op("Conv", g.op("Relu", a), g.const(normal(3, 6, *(1,) * n)), g.input("b", normal(3)), out="y")
    assert_same(g, ["y"], tmp_path, 1e-4 if plan is None else HALF, plan)


TRANSPOSED: list[dict[str, Any]] = [
    {},
    {"strides": [2, 3], "pads": [1, 0, 0, 2]},
    {"strides": [2, 3], "output_padding": [1, 2]},
    {"strides": [3, 3], "pads": [1, 1, 1, 1], "output_padding": [2, 1], "dilations": [2, 1]},
    {"strides": [2, 2], "output_shape": [9, 11]},
    {"strides": [2, 2], "output_shape": [10, 8], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "kernel_shape": [2, 2], "output_padding": [1, 1]},
]


@pytest.mark.parametrize("attributes", TRANSPOSED, ids=str)
@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose(tmp_path: Path, attributes: dict[str, Any], groups: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, 4, 4, 5))
    kernel = attributes.get("kernel_shape", [3, 3])
    w = g.const(normal(4, 6 // groups, *kernel, seed=1))
    g.op("ConvTranspose", x, w, g.const(normal(6, seed=2)), out="y", group=groups, **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("spatial", [(7,), (3, 4, 3)], ids=["sequence", "volume"])
def test_conv_transpose_of_other_ranks(tmp_path: Path, spatial: tuple[int, ...]) -> None:
    g, n = Graph(), len(spatial)
    w = g.const(normal(3, 2, *(3,) * n, seed=1))
    g.op("ConvTranspose", g.input("x", normal(1, 3, *spatial)), w, out="y", strides=[2] * n, output_padding=[1] * n)
    assert_same(g, ["y"], tmp_path)


POOLS: list[dict[str, Any]] = [
    {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [3, 2], "pads": [1, 1, 0, 1], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1]},
]


@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("kind", ["max", "mean", "mean and padding"])
def test_pool_2d(tmp_path: Path, attributes: dict[str, Any], kind: str) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, 9, 8) - 5)  # padding with 0 would win a maximum
    if kind == "max":
        g.op("MaxPool", x, out="y", **attributes)
    else:
        g.op("AveragePool", x, out="y", count_include_pad=int(kind != "mean"), **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("spatial", [(9,), (5, 6, 4)], ids=["sequence", "volume"])
@pytest.mark.parametrize("plan", [None, FP16], ids=["fp32", "fp16"])
def test_pools_of_other_ranks(tmp_path: Path, spatial: tuple[int, ...], plan: Plan | None) -> None:
    g, n = Graph(), len(spatial)
    x = g.input("x", normal(1, 3, *spatial) - 3)
    facts: dict[str, Any] = {"kernel_shape": [3] * n, "pads": [1] * 2 * n}
    g.op("MaxPool", x, out="a", strides=[2] * n, ceil_mode=1, **facts)
    g.op("AveragePool", x, out="b", strides=[2] * n, count_include_pad=1, **facts)
    g.op("MaxPool", x, out="c", dilations=[2] * n, **facts)
    g.op("GlobalAveragePool", x, out="d")
    g.op("GlobalMaxPool", x, out="e")
    assert_same(g, ["a", "b", "c", "d", "e"], tmp_path, 1e-5 if plan is None else HALF, plan)


@pytest.mark.parametrize("order", [0, 1])
def test_places_of_maxima(tmp_path: Path, order: int) -> None:
    g = Graph()
    x = g.input("x", np.round(normal(2, 3, 7, 8)))  # with ties
    g.op("MaxPool", x, out=["y", "i"], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], storage_order=order)
    a, i = g.op("MaxPool", x, out=["a", "j"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    g.op("MaxUnpool", g.op("Exp", a), i, out="z", kernel_shape=[2, 2], strides=[2, 2])
    outputs = ["y", "i"] + (["z"] if order else [])
    assert_same(g, outputs, tmp_path)


def test_pooled_bytes(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", np.random.default_rng(0).integers(0, 255, (1, 2, 6, 6)).astype(np.uint8))
    g.op("MaxPool", x, out="y", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    assert_same(g, ["y"], tmp_path)


def test_indices_that_may_repeat_are_refused(tmp_path: Path) -> None:
    g = Graph()
    a, i = g.op("MaxPool", g.input("x", normal(1, 1, 6, 6)), out=["a", "i"], kernel_shape=[3, 3], strides=[1, 1])
    g.op("MaxUnpool", a, i, out="y", kernel_shape=[3, 3])
    with pytest.raises(ModelError, match="may repeat"):
        assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("system", ["iOS15", "iOS16", "iOS18"])
def test_other_systems(tmp_path: Path, system: str) -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 4, 8, 8)), g.const(normal(8, 4, 3, 3)), g.const(normal(8)))
    x = g.op("ConvTranspose", x, g.const(normal(8, 3, 2, 2)), strides=[2, 2])
    x = g.op("MaxPool", x, kernel_shape=[2, 2], auto_pad="SAME_LOWER")
    g.op("AveragePool", x, kernel_shape=[3, 3], pads=[0, 1, 0, 1], out="y")
    assert_same(g, ["y"], tmp_path, 1e-4, Plan("fp32", device={"name": "device", "deployment": system}))


def test_windows_without_data_are_refused(tmp_path: Path) -> None:
    g = Graph()
    g.op("AveragePool", g.input("x", normal(1, 1, 4, 4)), out="y", kernel_shape=[2, 2], pads=[2, 0, 0, 0])
    with pytest.raises(ModelError, match="padding alone"):
        assert_same(g, ["y"], tmp_path)

"""Convolutions and pools against ONNX Runtime over their attributes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError

CONV_2D = [
    {"pads": p, "strides": s, "dilations": d}
    for p, s, d in itertools.product(
        ([0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 2, 1]), ([1, 1], [2, 2], [2, 1]), ([1, 1], [2, 2])
    )
] + [{"auto_pad": a, "strides": [2, 2]} for a in ("SAME_UPPER", "SAME_LOWER", "VALID")]


@pytest.mark.parametrize("attributes", CONV_2D, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 6], ids=["dense", "grouped", "depthwise"])
def test_conv_2d(tmp_path: Path, attributes: dict[str, Any], groups: int) -> None:
    g = Graph()
    x = g.input("x", normal(1, 6, 11, 10))
    w = g.const(normal(12, 6 // groups, 3, 3, seed=1))
    g.op("Conv", x, w, g.const(normal(12, seed=2)), out="y", group=groups, kernel_shape=[3, 3], **attributes)
    artifact = assert_same(g, ["y"], tmp_path)
    assert artifact.facts["transposes"] == 2


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("pads", [[0, 0], [1, 1], [2, 0]], ids=str)
def test_conv_1d_chain_is_transposed_at_its_ends_only(tmp_path: Path, groups: int, pads: list[int]) -> None:
    g = Graph()
    x = g.input("x", normal(2, 4, 16))
    a = g.op("Conv", x, g.const(normal(8, 4 // groups, 3)), g.const(normal(8)), group=groups, pads=pads)
    b = g.op("Add", g.op("Relu", a), a)
    g.op("Conv", b, g.const(normal(4, 8, 3, seed=3)), strides=[2], out="y")
    assert assert_same(g, ["y"], tmp_path).facts["transposes"] == 2


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("activation", ["Relu", "Clip6", "Clip1", "Clip3"])
def test_conv_activation(tmp_path: Path, batch: int, activation: str) -> None:
    g = Graph()
    x = g.input("x", normal(batch, 3, 8, 8) * 4)
    c = g.op("Conv", x, g.const(normal(5, 3, 1, 1)))
    if activation == "Relu":
        g.op("Relu", c, out="y")
    else:
        low, high = {"Clip6": (0, 6), "Clip1": (-1, 1), "Clip3": (-2, 3)}[activation]
        g.op("Clip", c, g.const(np.float32(low)), g.const(np.float32(high)), out="y")
    ops = assert_same(g, ["y"], tmp_path).facts["ops"]
    fused = set(ops) <= {"CONV_2D", "TRANSPOSE"}
    assert fused == (activation != "Clip3")


def test_a_convolution_read_twice_keeps_its_own_value(tmp_path: Path) -> None:
    g = Graph()
    c = g.op("Conv", g.input("x", normal(1, 3, 8, 8)), g.const(normal(5, 3, 1, 1)))
    g.op("Sub", g.op("Relu", c), c, out="y")
    assert_same(g, ["y"], tmp_path)


CONV_3D = [
    {},
    {"pads": [1, 1, 1, 1, 1, 1]},
    {"strides": [2, 1, 2], "pads": [0, 1, 1, 1, 0, 1]},
    {"dilations": [2, 1, 2]},
    {"auto_pad": "SAME_UPPER", "strides": [2, 2, 2]},
]


@pytest.mark.parametrize("attributes", CONV_3D, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4], ids=["dense", "grouped", "depthwise"])
def test_conv_3d(tmp_path: Path, attributes: dict[str, Any], groups: int) -> None:
    g = Graph()
    w, b = g.const(normal(8, 4 // groups, 3, 2, 3, seed=1)), g.const(normal(8))
    g.op("Relu", g.op("Conv", g.input("x", normal(2, 4, 7, 6, 8)), w, b, group=groups, **attributes), out="y")
    facts = assert_same(g, ["y"], tmp_path).facts
    assert facts["transposes"] == 2
    assert set(facts["not_on_xnnpack"]) <= {"GATHER"}


TRANSPOSED = [
    {"strides": [2, 2]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"strides": [2, 1], "pads": [0, 1, 1, 0]},
    {"strides": [1, 1], "dilations": [2, 2]},
    {"strides": [3, 2], "output_shape": [12, 10]},
    {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
]


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 2, 4], ids=["dense", "grouped", "depthwise"])
@pytest.mark.parametrize("attributes", TRANSPOSED, ids=str)
def test_conv_transpose(tmp_path: Path, kernel: int, groups: int, attributes: dict[str, Any]) -> None:
    g = Graph()
    x = g.input("x", normal(1, 4, 5, 5))
    w = g.const(normal(4, 8 // groups, kernel, kernel, seed=1))
    y = g.op("ConvTranspose", x, w, g.const(normal(8, seed=2)), group=groups, **attributes)
    g.op("Relu", y, out="y")
    assert assert_same(g, ["y"], tmp_path).facts["not_on_xnnpack"] == {}


VOLUMES_TRANSPOSED = [
    {"strides": [2, 2, 2]},
    {"strides": [1, 2, 3], "pads": [1, 0, 1, 1, 1, 0], "output_padding": [0, 1, 2]},
    {"strides": [3, 1, 2], "dilations": [1, 2, 2], "pads": [3, 1, 0, 2, 2, 1]},
    {"strides": [2, 2, 2], "auto_pad": "SAME_UPPER"},
]


@pytest.mark.parametrize("groups", [1, 2, 4], ids=["dense", "grouped", "depthwise"])
@pytest.mark.parametrize("attributes", VOLUMES_TRANSPOSED, ids=str)
def test_conv_transpose_3d(tmp_path: Path, groups: int, attributes: dict[str, Any]) -> None:
    g = Graph()
    w = g.const(normal(4, 8 // groups, 3, 2, 3, seed=1))
    g.op("ConvTranspose", g.input("x", normal(2, 4, 3, 4, 5)), w, out="y", group=groups, **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("groups", [1, 2])
def test_conv_transpose_1d(tmp_path: Path, groups: int) -> None:
    g = Graph()
    x, w = g.input("x", normal(1, 4, 9)), g.const(normal(4, 3, 4))
    g.op("ConvTranspose", x, w, strides=[2], pads=[1, 1], group=groups, out="y")
    assert_same(g, ["y"], tmp_path)


POOLS = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 1, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [5, 5], "strides": [1, 1], "pads": [2, 2, 2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [2, 3], "strides": [1, 2], "auto_pad": "VALID"},
]


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("relu", [False, True])
def test_max_pool(tmp_path: Path, size: tuple[int, int], attributes: dict[str, Any], relu: bool) -> None:
    g = Graph()
    x = g.input("x", normal(1, 3, *size) - 5)  # all negative: padding with 0 would win
    x = g.op("Relu", x) if relu else x
    g.op("MaxPool", x, out="y", **attributes)
    assert assert_same(g, ["y"], tmp_path).facts["not_on_xnnpack"] == {}


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
@pytest.mark.parametrize("attributes", POOLS, ids=str)
@pytest.mark.parametrize("include", [0, 1])
def test_average_pool(tmp_path: Path, size: tuple[int, int], attributes: dict[str, Any], include: int) -> None:
    g = Graph()
    g.op("AveragePool", g.input("x", normal(1, 3, *size)), out="y", count_include_pad=include, **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pool_1d(tmp_path: Path, op: str) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(2, 3, 11)), out="y", kernel_shape=[3], strides=[2], pads=[1, 1])
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(1, 3, 5, 6), (2, 3, 7)], ids=str)
def test_global_pool(tmp_path: Path, op: str, shape: tuple[int, ...]) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(*shape)), out="y")
    assert assert_same(g, ["y"], tmp_path).facts["transposes"] == 0


DILATED = [
    {"kernel_shape": [3, 3], "dilations": [2, 2]},
    {"kernel_shape": [2, 3], "dilations": [3, 1], "strides": [2, 1], "pads": [1, 1, 0, 1]},
    {"kernel_shape": [3, 2], "dilations": [1, 2], "strides": [2, 3], "ceil_mode": 1},
]
VOLUMES = [
    {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]},
    {"kernel_shape": [3, 3, 3], "strides": [2, 1, 2], "pads": [1, 1, 1, 1, 1, 1]},
    {
        "kernel_shape": [3, 2, 3],
        "dilations": [2, 1, 1],
        "pads": [1, 0, 1, 0, 1, 1],
        "ceil_mode": 1,
        "strides": [1, 2, 2],
    },
    {"kernel_shape": [2, 2, 2], "dilations": [1, 2, 3]},
]


@pytest.mark.parametrize("attributes", [*DILATED, *VOLUMES], ids=str)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool0", "AveragePool1"])
def test_dilated_and_volumetric_pools(tmp_path: Path, op: str, attributes: dict[str, Any]) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, *(9, 8, 7)[-len(attributes["kernel_shape"]) :]) - 5)
    counted = {} if op == "MaxPool" else {"count_include_pad": int(op[-1])}
    g.op(op.rstrip("01"), x, out="y", **attributes, **counted)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("attributes", [POOLS[1], POOLS[3], *DILATED[:3], *VOLUMES[:2]], ids=str)
def test_max_pool_with_indices(tmp_path: Path, attributes: dict[str, Any], order: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, *(6, 8, 7)[-len(attributes["kernel_shape"]) :]) - 5)
    g.op("MaxPool", x, out=["y", "places"], storage_order=order, **attributes)
    assert_same(g, ["y", "places"], tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_max_pool_of_bytes(tmp_path: Path, dtype: type) -> None:
    g = Graph()
    x = np.random.default_rng(0).integers(np.iinfo(dtype).min, np.iinfo(dtype).max, (1, 3, 8, 8)).astype(dtype)
    g.op("MaxPool", g.input("x", x), out="y", kernel_shape=[3, 3], strides=[2, 2])
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("kernel", [2, 3])
def test_max_unpool(tmp_path: Path, kernel: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, 6, 8))
    y, places = g.op("MaxPool", x, out=["p", "i"], kernel_shape=[kernel, kernel], strides=[2, 2])
    g.op("MaxUnpool", y, places, out="y", kernel_shape=[kernel, kernel], strides=[2, 2])
    if kernel == 2:
        assert_same(g, ["y"], tmp_path)
    else:
        with pytest.raises(ModelError, match="may repeat"):
            lower(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_automatic_pads_of_dilated_pools_are_refused(tmp_path: Path, op: str) -> None:
    g = Graph()
    attributes = {"kernel_shape": [3, 3], "dilations": [2, 2], "auto_pad": "SAME_UPPER"}
    g.op(op, g.input("x", normal(1, 3, 9, 9)), out="y", **attributes)
    with pytest.raises(ModelError, match="give pads"):
        lower(g, ["y"], tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [{"kernel_shape": [1], "strides": [3], "auto_pad": "SAME_UPPER"}, {"kernel_shape": [10], "strides": [2]}],
)
def test_windows_without_an_agreed_meaning_are_refused(tmp_path: Path, op: str, attributes: dict[str, Any]) -> None:
    g = Graph()
    g.op(op, g.input("x", normal(1, 3, 9)), out="y", **attributes)
    with pytest.raises(ModelError, match="cannot lower"):
        lower(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    "attributes", [{}, {"pads": [1, 1, 1, 1]}, {"strides": [2, 2]}, {"dilations": [2, 2]}], ids=str
)
@pytest.mark.parametrize("groups", [1, 2, 4], ids=["dense", "grouped", "depthwise"])
def test_conv_with_computed_weights(tmp_path: Path, groups: int, attributes: dict[str, Any]) -> None:
    g = Graph()
    w = g.op("Tanh", g.input("w", normal(8, 4 // groups, 3, 3, seed=3)))
    y = g.op("Conv", g.input("x", normal(1, 4, 8, 9)), w, g.const(normal(8)), group=groups, **attributes)
    g.op("Relu", y, out="y")
    assert_same(g, ["y"], tmp_path)


FILTERS = [
    ((1, 1, 9001), (1, 1, 256), {"strides": [2], "pads": [127, 3]}, True),
    ((2, 1, 4003), (80, 1, 251), {}, True),
    ((1, 8, 37, 66), (1, 8, 5, 5), {"pads": [2, 2, 2, 2]}, True),
    ((1, 8, 90, 131), (3, 8, 9, 9), {"strides": [2, 1], "dilations": [2, 1], "pads": [0, 4, 3, 0]}, True),
    ((1, 8, 40, 121), (1, 8, 5, 5), {"dilations": [1, 2]}, False),
    ((1, 1, 600), (36, 1, 256), {"strides": [2]}, False),
    ((1, 8, 40, 120), (16, 8, 3, 3), {}, False),
]


@pytest.mark.parametrize(("size", "filters", "attributes", "together"), FILTERS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_few_outputs_of_long_windows_are_computed_side_by_side(
    tmp_path: Path,
    size: tuple[int, ...],
    filters: tuple[int, ...],
    attributes: dict[str, Any],
    together: bool,
    bias: bool,
) -> None:
    g = Graph()
    extra = [g.const(normal(filters[0], seed=2))] if bias else []
    w = normal(*filters, seed=1) / np.float32(np.sqrt(np.prod(filters[1:])))
    g.op("Relu", g.op("Conv", g.input("x", normal(*size)), g.const(w), *extra, **attributes), out="y")
    facts = assert_same(g, ["y"], tmp_path).facts
    assert facts["not_on_xnnpack"] == {}
    # The same weights once, or with the zeros of their copies.
    assert (facts["bytes"] > 4 * w.size * 2 + 2000) == together

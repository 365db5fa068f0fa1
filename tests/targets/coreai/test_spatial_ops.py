"""Convolutions, pools, resizing and sampling in Core AI's runtime, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreai_graphs import Graph, assert_same, normal, run

from edgeport.errors import ModelError


@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        ((2, 3, 9), (4, 3, 3), {"pads": [2, 1], "strides": [2]}),
        ((1, 4, 7, 8), (6, 2, 3, 2), {"group": 2, "dilations": [2, 1], "pads": [1, 0, 2, 1]}),
        ((1, 4, 7, 8), (4, 1, 3, 3), {"group": 4, "auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ((1, 2, 5, 6, 7), (3, 2, 2, 3, 1), {"pads": [1, 0, 0, 0, 1, 0], "strides": [1, 2, 2]}),
    ],
    ids=str,
)
@pytest.mark.parametrize("constant", [True, False])
def test_conv(tmp_path: Path, shape: Any, kernel: Any, attributes: dict[str, Any], constant: bool) -> None:
    g, w = Graph(), normal(*kernel, seed=1)
    weight = g.const(w) if constant else g.input("w", w)
    g.op("Conv", g.input("x", normal(*shape)), weight, g.const(normal(kernel[0], seed=2)), out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("shape", "kernel", "attributes"),
    [
        ((2, 3, 5), (3, 2, 3), {"strides": [2], "pads": [1, 0], "output_padding": [1]}),
        ((1, 4, 4, 5), (4, 3, 3, 2), {"group": 2, "dilations": [1, 2], "strides": [2, 3]}),
        ((1, 2, 4, 5), (2, 3, 3, 3), {"strides": [3, 2], "output_shape": [10, 9]}),
        ((1, 2, 4, 5), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((1, 2, 3, 4, 3), (2, 3, 2, 2, 3), {"strides": [2, 1, 1], "pads": [0, 1, 1, 0, 0, 1]}),
    ],
    ids=str,
)
def test_conv_transpose(tmp_path: Path, shape: Any, kernel: Any, attributes: dict[str, Any]) -> None:
    g = Graph()
    channels = kernel[1] * attributes.get("group", 1)
    operands = [g.const(normal(*kernel, seed=1)), g.const(normal(channels, seed=2))]
    g.op("ConvTranspose", g.input("x", normal(*shape)), *operands, out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((2, 3, 9), {"kernel_shape": [3], "strides": [2], "ceil_mode": 1}),
        ((1, 2, 7, 8), {"kernel_shape": [3, 2], "pads": [1, 0, 2, 1], "strides": [2, 2]}),
        ((1, 2, 7, 8), {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((1, 2, 7, 8), {"kernel_shape": [2, 3], "dilations": [2, 1], "ceil_mode": 1, "strides": [1, 3]}),
        ((1, 2, 5, 4, 6), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 2]}),
    ],
    ids=str,
)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "AveragePool with pads"])
def test_pools(tmp_path: Path, op: str, shape: Any, attributes: dict[str, Any]) -> None:
    g = Graph()
    x = g.input("x", normal(*shape))
    if op == "MaxPool":
        g.op(op, x, out=["y", "i"], **attributes)
    else:
        g.op("AveragePool", x, out="y", count_include_pad=int(op != "AveragePool"), **attributes)
    assert_same(g, ["y", "i"] if op == "MaxPool" else ["y"], tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("sizes", [(1, 2, 10, 12), (1, 2, 7, 4), (1, 2, 3, 9)], ids=str)
def test_resize(tmp_path: Path, mode: str, coordinates: str, sizes: tuple[int, ...]) -> None:
    g = Graph()
    operands = ["", "", g.const(np.asarray(sizes, np.int64))]
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    g.op("Resize", g.input("x", normal(1, 2, 5, 6)), *operands, out="y", **attributes)
    operations = assert_same(g, ["y"], tmp_path, tolerance=2e-5)  # products of weights that ONNX Runtime rounds before
    assert ("interpolate" in operations) == (mode == "linear")


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_grid_sample(tmp_path: Path, mode: str, padding: str, aligned: int) -> None:
    g = Graph()
    grid = g.input("g", normal(2, 3, 4, 2, seed=5) * 1.2)
    x = g.input("x", normal(2, 3, 5, 6))
    g.op("GridSample", x, grid, out="y", mode=mode, padding_mode=padding, align_corners=aligned)
    assert_same(g, ["y"], tmp_path, tolerance=1e-4)  # coordinates at a pixel's edge: weights near 0 differ in 1e-5


def test_lrn_and_global_pools(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 5, 4, 3))
    outputs = [g.op("LRN", x, size=size, alpha=0.3, beta=0.6, bias=1.2) for size in (1, 3)]
    outputs += [g.op("GlobalAveragePool", x), g.op("GlobalMaxPool", x)]
    assert_same(g, outputs, tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [1], "strides": [3], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [10], "strides": [2]},
    ],
    ids=str,
)
def test_pools_of_no_single_meaning_are_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """The specification and ONNX Runtime place such windows differently."""
    g = Graph()
    g.op("MaxPool", g.input("x", normal(1, 3, 9)), out="y", **attributes)
    with pytest.raises(ModelError, match="give pads|does not fit"):
        run(g, ["y"], tmp_path)

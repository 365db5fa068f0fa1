"""Spatial operators inside of integer regions: their integer forms, or float islands, against the simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_integers import assert_simulated
from tflite_graphs import Graph, normal


def conv(g: Graph, x: str, channels: int, rank: int) -> str:
    """A pointwise convolution."""
    w = normal(4, channels, *(1,) * (rank - 2), seed=channels)
    y: str = g.op("Conv", x, g.const(w), g.const(normal(4, seed=9)))
    return y


def resize(g: Graph, x: str, sizes: list[int], **attributes: Any) -> str:
    y: str = g.op("Resize", x, "", "", g.const(np.asarray(sizes)), **attributes)
    return y


def unpooled(g: Graph, x: str) -> str:
    y, places = g.op("MaxPool", x, out=["pooled", "places"], kernel_shape=[2, 2], strides=[2, 2])
    out: str = g.op("MaxUnpool", y, places, kernel_shape=[2, 2], strides=[2, 2])
    return out


CASES: dict[str, Any] = {
    "dilated": ((8, 8), lambda g, x: g.op("MaxPool", x, kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1])),
    "sequence pool": ((12,), lambda g, x: g.op("MaxPool", x, kernel_shape=[3], pads=[1, 1], strides=[2])),
    "unpool": ((8, 8), unpooled),
    "average": ((8, 8), lambda g, x: g.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
    "cubic": ((8, 8), lambda g, x: resize(g, x, [1, 4, 13, 16], mode="cubic")),
    "antialias": ((8, 8), lambda g, x: resize(g, x, [1, 4, 5, 16], mode="linear", antialias=1)),
    "aligned": ((8, 8), lambda g, x: resize(
        g, x, [1, 4, 15, 11], mode="linear", coordinate_transformation_mode="align_corners")),
    "sequence": ((12,), lambda g, x: resize(g, x, [1, 4, 24], mode="linear")),
    "sequence nearest": ((12,), lambda g, x: resize(g, x, [1, 4, 24], mode="nearest")),
    "grouped": ((8, 8), lambda g, x: g.op("ConvTranspose", x, g.const(normal(4, 1, 4, 4)), group=4, strides=[2, 2])),
    "lrn": ((8, 8), lambda g, x: g.op("LRN", x, size=3)),
    "grid": ((8, 8), lambda g, x: g.op("GridSample", x, g.const(normal(1, 5, 6, 2) / 2))),
    "reflect": ((8, 8), lambda g, x: g.op("Pad", x, g.const(np.array([0, 0, 1, 2, 0, 0, 2, 0])), mode="reflect")),
    "edge": ((8, 8), lambda g, x: g.op("Pad", x, g.const(np.array([0, 0, 1, 2, 0, 0, 2, 0])), mode="edge")),
    "far": ((8, 8), lambda g, x: g.op("Pad", x, g.const(np.array([0, 0, 6, 3, 0, 0, 2, 7])), mode="reflect")),
    "repeated": ((8, 1), lambda g, x: g.op("Expand", x, g.const(np.array([1, 4, 8, 6])))),
    "tiled": ((8, 3), lambda g, x: g.op("Tile", x, g.const(np.array([1, 1, 2, 3])))),
    "shuffle": ((8, 8), lambda g, x: g.op("SpaceToDepth", g.op("DepthToSpace", x, blocksize=2), blocksize=2)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_between_convolutions(tmp_path: Path, case: str) -> None:
    size, make = CASES[case]
    g = Graph()
    x = conv(g, g.op("Identity", g.input("x", normal(1, 6, *size) * 2)), 6, len(size) + 2)
    artifact = assert_simulated(g, [conv(g, make(g, x), 4, len(size) + 2)], tmp_path, steps=3.01)
    assert artifact.facts["ops"]["CONV_2D"] == 2


@pytest.mark.parametrize(
    "attributes",
    [{"pads": [1, 1, 1, 1, 1, 1]}, {"strides": [2, 1, 2]}, {"dilations": [2, 1, 1], "pads": [0, 1, 0, 2, 0, 1]}],
    ids=str,
)
def test_volumes(tmp_path: Path, attributes: dict[str, Any]) -> None:
    g = Graph()
    x = g.op("Identity", g.input("x", normal(1, 3, 6, 7, 8) * 2))
    a = g.op("Conv", x, g.const(normal(8, 3, 3, 3, 3, seed=1)), g.const(normal(8, seed=2)), **attributes)
    b = g.op("MaxPool", g.op("Relu", a), kernel_shape=[2, 2, 2], strides=[1, 2, 1])
    c = g.op("Conv", b, g.const(normal(4, 8, 1, 1, 1, seed=3)))
    y = g.op("Resize", c, "", g.const(np.float32([1, 1, 2, 2, 2])), mode="nearest")
    artifact = assert_simulated(g, [y], tmp_path, steps=3.01)
    assert artifact.facts["ops"]["DEQUANTIZE"] == 1

"""Sampling between pixels against ONNX Runtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError
from edgeport.targets.tflite.target import TFLITE

PADDINGS = ("zeros", "border", "reflection")
GRIDS = [
    (size, mode, padding, aligned)
    for size, (mode, padding, aligned) in itertools.product(
        ((5, 7), (1, 4), (3, 5, 4)), itertools.product(("linear", "nearest", "cubic"), PADDINGS, (0, 1))
    )
    if not (len(size) == 3 and mode == "cubic")  # which the operator does not have
    and not (1 in size and aligned and padding == "reflection")  # between one pixel and itself: not a number
]


@pytest.mark.parametrize(("size", "mode", "padding", "aligned"), GRIDS, ids=str)
def test_grid_sample(tmp_path: Path, size: tuple[int, ...], mode: str, padding: str, aligned: int) -> None:
    g = Graph()
    places = (6, 4) if len(size) == 2 else (2, 3, 4)
    points = np.random.default_rng(1).uniform(-2.7, 2.7, (2, *places, len(size))).astype(np.float32)
    x, grid = g.input("x", normal(2, 3, *size)), g.input("grid", points)
    g.op("GridSample", x, grid, out="y", mode=mode, padding_mode=padding, align_corners=aligned)
    facts = assert_same(g, ["y"], tmp_path).facts
    assert set(facts["not_on_xnnpack"]) <= {"GATHER", "CAST"}


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_points_on_pixels_and_half_way(tmp_path: Path, mode: str) -> None:
    g = Graph()
    line = np.linspace(-1, 1, 17, dtype=np.float32)  # multiples of 1/8: ties of rounding, exact in float32
    grid = np.stack(np.meshgrid(line, line), -1)[None]
    g.op("GridSample", g.input("x", normal(1, 2, 9, 5)), g.input("g", grid), out="y", mode=mode, align_corners=1)
    assert_same(g, ["y"], tmp_path)


def test_cubic_volumes_are_refused(tmp_path: Path) -> None:
    g = Graph()
    attributes: dict[str, Any] = {"mode": "cubic"}
    g.op("GridSample", g.input("x", normal(1, 2, 3, 4, 5)), g.input("g", normal(1, 2, 2, 2, 3)), out="y", **attributes)
    with pytest.raises(ModelError, match="not supported"):
        lower(g, ["y"], tmp_path)


@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("beta", [0.5, 0.6, 0.75, 1.0])
@pytest.mark.parametrize("channels", [6, 200])
def test_lrn(tmp_path: Path, size: int, beta: float, channels: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, channels, 3, 4))
    g.op("LRN", x, out="y", size=size, beta=beta, alpha=0.3, bias=1.5)
    facts = assert_same(g, ["y"], tmp_path).facts
    assert set(facts["not_on_xnnpack"]) <= ({"POW"} if beta == 0.6 else set())


def test_lrn_of_an_even_size(tmp_path: Path) -> None:
    g, x = Graph(), normal(1, 6, 2, 3)
    g.op("LRN", g.input("x", x), out="y", size=4, beta=1.0, alpha=2.0, bias=1.0)
    artifact, model = lower(g, ["y"], tmp_path)
    got = TFLITE.runner(artifact, model).run(g.inputs)["y"]
    # ONNX Runtime takes odd sizes only. By the specification: one channel before, two after.
    square = np.pad(x.astype(np.float64) ** 2, ((0, 0), (1, 2), (0, 0), (0, 0)))
    total = sum(square[:, i : i + 6] for i in range(4))
    np.testing.assert_allclose(got, x / (1.0 + 2.0 / 4 * total), rtol=1e-5, atol=1e-6)  # float32 against float64

"""Pad, Resize and what reads images at places of its own, in Core ML packages against ONNX Runtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coreml_graphs import Graph, assert_same, normal

from edgeport.quantize.plan import Plan

FP16 = Plan("fp16")
HALF = 2e-2
"""float16 has 11 bits: numbers of about 4 are off by up to 2e-3, and each result stems from several of them."""


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool])
def test_pad(tmp_path: Path, mode: str, dtype: type) -> None:
    g = Graph()
    x = g.input("x", (normal(2, 3, 4, 5) * 9).astype(dtype))
    fill = g.const(np.asarray(7, dtype)) if mode == "constant" else ""
    g.op("Pad", x, g.const(np.array([0, 0, 1, 2, 0, 0, 2, 1])), fill, out="a", mode=mode)
    g.op("Pad", x, g.const(np.array([2, 1])), fill, g.const(np.array([-3])), out="b", mode=mode)
    kinds = assert_same(g, ["a", "b"], tmp_path)
    assert kinds["pad"] == {"constant": 2, "wrap": 0}.get(mode, 1) * (dtype == np.float32)


def test_negative_pads_and_a_computed_fill(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(2, 4, 5))
    g.op("Pad", x, g.const(np.array([0, -1, 2, 1, 0, -2])), out="a")
    g.op("Pad", x, g.const(np.array([0, 1, 0, 0, 0, 2])), g.input("fill", np.array(2.5, np.float32)), out="b")
    g.op("Pad", x, g.const(np.array([0, 0, 0, 0, 0, 1])), g.const(np.float32(-np.inf)), out="c")
    assert_same(g, ["a", "b", "c"], tmp_path)


COORDINATES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", [[8, 10], [7, 3], [1, 11]], ids=str)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_resize(tmp_path: Path, coordinates: str, size: list[int], mode: str) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, 4, 5))
    facts: dict[str, Any] = {"coordinate_transformation_mode": coordinates, "mode": mode}
    g.op("Resize", x, "", "", g.const(np.array([2, 3, *size])), out="y", **facts)
    kinds = assert_same(g, ["y"], tmp_path)
    kernels = kinds["upsample_bilinear"] + kinds["resize_bilinear"]
    same_grid = mode == "linear" and 1 not in size  # the kernels' grids divide by one less than the size
    assert kernels == same_grid


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "align_corners", "asymmetric"])
def test_resize_to_the_nearest(tmp_path: Path, rounding: str, coordinates: str) -> None:
    g = Graph()
    x, numbers = g.input("x", normal(1, 2, 4, 6)), g.input("n", np.arange(24, dtype=np.int32).reshape(1, 1, 4, 6))
    facts = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    for name, size in (("a", [8, 18]), ("b", [7, 5]), ("c", [2, 3])):
        g.op("Resize", x, "", "", g.const(np.array([1, 2, *size])), out=name, **facts)
    g.op("Resize", numbers, "", g.const(np.array([1, 1, 1.5, 2], np.float32)), out="d", **facts)
    assert_same(g, list("abcd"), tmp_path)


@pytest.mark.parametrize("plan", [None, FP16], ids=["fp32", "fp16"])
def test_resize_otherwise(tmp_path: Path, plan: Plan | None) -> None:
    g = Graph()
    x, volume = g.input("x", normal(1, 2, 6, 5)), g.input("v", normal(1, 2, 3, 4, 5))
    scales = g.const(np.array([1.6, 2], np.float32))
    g.op("Resize", x, "", scales, out="a", axes=[3, 2], mode="linear")
    g.op("Resize", x, "", "", g.const(np.array([1, 2, 3, 2])), out="b", mode="cubic", antialias=1)
    g.op("Resize", x, "", "", g.const(np.array([1, 2, 4, 3])), out="c", mode="linear", antialias=1, exclude_outside=1)
    roi = g.const(np.array([0, 0, 0.2, -0.3, 1, 1, 0.9, 1.2], np.float32))
    crop = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.0, "mode": "linear"}
    g.op("Resize", x, roi, "", g.const(np.array([1, 2, 7, 8])), out="d", **crop)
    g.op("Resize", volume, "", "", g.const(np.array([1, 2, 6, 8, 5])), out="e", mode="linear")
    g.op("Resize", volume, "", "", g.const(np.array([1, 2, 6, 8, 10])), out="f")
    g.op("Resize", x, "", "", g.const(np.array([9, 9])), out="h", axes=[2, 3], keep_aspect_ratio_policy="not_larger")
    assert_same(g, list("abcdefh"), tmp_path, 1e-5 if plan is None else HALF, plan)


@pytest.mark.parametrize("block", [1, 2])
def test_depth_and_space(tmp_path: Path, block: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, 8, 4, 6))
    for mode in ("DCR", "CRD"):
        g.op("DepthToSpace", x, out=mode, blocksize=block, mode=mode)
    g.op("SpaceToDepth", x, out="y", blocksize=block)
    assert_same(g, ["DCR", "CRD", "y"], tmp_path)


GRIDS = [
    *itertools.product(("linear", "nearest"), ("zeros", "border", "reflection"), (0, 1)),
    *itertools.product(("cubic",), ("zeros", "border", "reflection"), (1,)),
]


@pytest.mark.parametrize(("mode", "padding", "aligned"), GRIDS)
def test_grid_sample(tmp_path: Path, mode: str, padding: str, aligned: int) -> None:
    g = Graph()
    x = g.input("x", normal(2, 3, 5, 6))
    points = np.random.default_rng(3).uniform(-1.6, 1.6, (2, 4, 7, 2)).astype(np.float32)
    facts = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    g.op("GridSample", x, g.input("grid", points), out="y", **facts)
    kinds = assert_same(g, ["y"], tmp_path)
    assert kinds["resample"] == (mode == "linear")
    if padding == "zeros":  # coordinates stay float32 in a float16 program
        assert_same(g, ["y"], tmp_path, HALF, FP16)


def test_coordinates_stay_exact_in_float16(tmp_path: Path) -> None:
    g = Graph()
    offsets = g.op("Conv", g.input("x", normal(1, 1, 4, 256)), g.const(normal(2, 1, 1, 1) * 0.01))
    places = g.input("places", np.random.default_rng(0).uniform(0, 255, (1, 4, 256, 2)).astype(np.float32))
    moved = g.op("Add", g.op("Transpose", offsets, perm=[0, 2, 3, 1]), places)
    grid = g.op("Sub", g.op("Mul", moved, g.const(np.float32(2 / 255))), g.const(np.float32(1)))
    g.op("GridSample", g.input("image", normal(1, 1, 256, 256)), grid, out="y", align_corners=1)
    # offsets of 0.03 are off by 1e-5 of a pixel, pixels of 4 by 2e-3; an eighth of a pixel would be off by 0.5
    assert_same(g, ["y"], tmp_path, 5e-3, FP16)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
def test_grid_sample_of_volumes(tmp_path: Path, mode: str) -> None:
    g = Graph()
    points = np.random.default_rng(3).uniform(-1.3, 1.3, (2, 2, 3, 4, 3)).astype(np.float32)
    g.op("GridSample", g.input("x", normal(2, 2, 3, 4, 5)), g.input("grid", points), out="y", mode=mode)
    assert_same(g, ["y"], tmp_path)

"""Resize over its modes against ONNX Runtime."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal, reference

from edgeport.errors import ModelError
from edgeport.targets.tflite.target import TFLITE

COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDING = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def resized(tmp_path: Path, x: np.ndarray, sizes: list[int], **attributes: Any) -> dict[str, int]:
    """The operators that Resize becomes; its numbers are compared on the way."""
    g = Graph()
    g.op("Resize", g.input("x", x), "", "", g.const(np.asarray(sizes, np.int64)), out="y", **attributes)
    # A product with an interpolation matrix adds up to a few dozen terms of magnitude 1, in float32.
    ops: dict[str, int] = assert_same(g, ["y"], tmp_path, atol=2e-5).facts["ops"]
    return ops


@pytest.mark.parametrize("rounding", ROUNDING)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", [(14, 10), (5, 13), (3, 1)], ids=str)
def test_nearest(tmp_path: Path, coordinates: str, rounding: str, size: tuple[int, int]) -> None:
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    ops = resized(tmp_path, normal(1, 3, 7, 5), [1, 3, *size], mode="nearest", **attributes)
    assert set(ops) <= {"RESIZE_NEAREST_NEIGHBOR", "GATHER", "TRANSPOSE", "MUL", "RESHAPE"}


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("antialias", [0, 1])
@pytest.mark.parametrize(("mode", "outside"), [("linear", 0), ("cubic", 0), ("cubic", 1)])
@pytest.mark.parametrize("size", [(14, 10), (5, 13), (3, 1)], ids=str)
def test_smooth(
    tmp_path: Path, mode: str, coordinates: str, antialias: int, outside: int, size: tuple[int, int]
) -> None:
    attributes = {"antialias": antialias, "exclude_outside": outside, "coordinate_transformation_mode": coordinates}
    resized(tmp_path, normal(1, 3, 7, 5), [1, 3, *size], mode=mode, **attributes)


@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize(("mode", "antialias"), [("cubic", 0), ("linear", 1), ("cubic", 1)])
@pytest.mark.parametrize("size", [(300, 20), (40, 500)], ids=str)
def test_large_sizes_are_resized_in_blocks(
    tmp_path: Path, mode: str, antialias: int, channels: int, size: tuple[int, int]
) -> None:
    g = Graph()
    x = g.input("x", normal(1, channels, 150, 200))
    x = g.op("AveragePool", x, kernel_shape=[1, 1])  # leaves it channels last
    g.op("Resize", x, "", "", g.const(np.array([1, channels, *size])), out="y", mode=mode, antialias=antialias)
    facts = assert_same(g, ["y"], tmp_path, atol=2e-5).facts  # dozens of terms of magnitude 1, in float32
    assert facts["bytes"] < 150_000  # the matrices alone would be up to 580 kB
    assert facts["not_on_xnnpack"] == {}


@pytest.mark.parametrize("shape", [(2, 3, 6), (1, 2, 4, 5, 6)], ids=str)
@pytest.mark.parametrize(("mode", "coordinates"), list(itertools.product(["nearest", "linear"], COORDINATES[:4])))
def test_sequences_and_volumes(tmp_path: Path, shape: tuple[int, ...], mode: str, coordinates: str) -> None:
    sizes = [*shape[:2], *(2 * d - 1 for d in shape[2:])]
    resized(tmp_path, normal(*shape), sizes, mode=mode, coordinate_transformation_mode=coordinates)


@pytest.mark.parametrize("scales", [(2.0, 2.0), (2.5, 0.6), (1.0, 0.7)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "half_pixel_symmetric"])
def test_scales(tmp_path: Path, scales: tuple[float, float], mode: str, coordinates: str) -> None:
    g = Graph()
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    g.op("Resize", g.input("x", normal(2, 3, 8, 9)), "", g.const(np.float32([1, 1, *scales])), out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("roi", [(0.1, 0.2, 0.8, 0.7), (-0.3, 0.5, 0.6, 1.4), (0.5, 0.5, 0.5, 0.5)], ids=str)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_crop_and_resize(tmp_path: Path, roi: tuple[float, ...], mode: str) -> None:
    g = Graph()
    box = g.const(np.float32([0, 0, *roi[:2], 1, 1, *roi[2:]]))
    attributes = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 10.0}
    sizes = g.const(np.array([1, 3, 4, 6]))
    g.op("Resize", g.input("x", normal(1, 3, 7, 5)), box, "", sizes, mode=mode, out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_kept_aspect_ratio_over_chosen_axes(tmp_path: Path, policy: str) -> None:
    g = Graph()
    attributes = {"keep_aspect_ratio_policy": policy, "axes": [3, 2], "mode": "linear"}
    g.op("Resize", g.input("x", normal(1, 2, 6, 8)), "", "", g.const(np.array([11, 7])), out="y", **attributes)
    assert_same(g, ["y"], tmp_path)


def test_inner_results_have_canonical_names(tmp_path: Path) -> None:
    g = Graph()
    a = g.op(
        "Resize", g.input("x", normal(1, 3, 6, 5)), "", "", g.const(np.array([1, 3, 9, 10])), mode="cubic", out="a"
    )
    b = g.op("MaxPool", a, kernel_shape=[2, 2], dilations=[2, 2], out="b")
    g.op("Relu", g.op("Pad", b, g.const(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="reflect", out="c"), out="y")
    artifact, model = lower(g, ["y"], tmp_path)
    found = TFLITE.runner(artifact, model).intermediates(g.inputs, ["a", "b", "c"])
    for name, wanted in reference(g.proto("a", "b", "c", "y"), g.inputs).items():
        if name != "y":
            np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-5)  # four products in float32


def test_a_crop_of_equal_size_is_refused(tmp_path: Path) -> None:
    g = Graph()
    roi, sizes = g.const(np.float32([0, 0, 0.1, 0.2, 1, 1, 0.8, 0.7])), g.const(np.array([1, 3, 7, 4]))
    g.op(
        "Resize", g.input("x", normal(1, 3, 7, 5)), roi, "", sizes,
        coordinate_transformation_mode="tf_crop_and_resize", mode="linear", out="y",
    )  # fmt: skip
    with pytest.raises(ModelError, match="no agreed meaning"):
        lower(g, ["y"], tmp_path)

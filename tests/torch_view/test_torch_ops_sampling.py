"""Resizing and sampling in the torch view, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from view_graphs import Graph, assert_same, ints, normal, targets

from edgeport.errors import ModelError
from edgeport.torch_view.view import torch_view


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
)
@pytest.mark.parametrize("sizes", [(1, 2, 10, 12), (1, 2, 7, 4), (1, 2, 3, 9), (1, 2, 1, 6)], ids=str)
def test_resize(mode: str, coordinates: str, sizes: tuple[int, ...]) -> None:
    g = Graph()
    operands = ["", "", g.const(ints(*sizes))]
    attributes = {"mode": mode, "coordinate_transformation_mode": coordinates}
    g.op("Resize", g.input("x", normal(1, 2, 5, 6)), *operands, out="y", **attributes)
    assert_same(g.model("y"), g.inputs, tolerance=2e-5)  # products of weights that ONNX Runtime rounds before


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("sizes", [(1, 2, 10, 12), (1, 2, 7, 4)], ids=str)
def test_nearest(rounding: str, coordinates: str, sizes: tuple[int, ...]) -> None:
    g = Graph()
    operands = ["", "", g.const(ints(*sizes))]
    attributes = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
    g.op("Resize", g.input("x", normal(1, 2, 5, 6)), *operands, out="y", **attributes)
    assert_same(g.model("y"), g.inputs)


@pytest.mark.parametrize(
    ("sizes", "attributes", "function"),
    [
        ((1, 2, 10, 12), {"mode": "linear"}, "bilinear"),
        ((1, 2, 7, 4), {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, "bilinear"),
        ((1, 2, 10, 18), {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, "nearest"),
        ((1, 2, 15, 12), {}, "nearest"),
        ((1, 4, 10, 6), {"mode": "linear"}, None),  # over the channels
    ],
    ids=str,
)
def test_torchs_own_where_it_is_the_same(sizes: Any, attributes: dict[str, Any], function: str | None) -> None:
    g = Graph()
    operands = ["", "", g.const(ints(*sizes))]
    g.op("Resize", g.input("x", normal(1, 2, 5, 6)), *operands, out="y", **attributes)
    view = assert_same(g.model("y"), g.inputs, tolerance=2e-5)  # as for test_resize
    modes = [n.kwargs["mode"] for n in view.graph.nodes if "interpolate" in str(n.target)]
    assert modes == ([] if function is None else [function])


@pytest.mark.parametrize(
    ("shape", "scales", "attributes"),
    [
        ((1, 2, 8, 9), (1, 1, 0.6, 0.5), {"mode": "linear", "antialias": 1}),
        ((1, 2, 8, 9), (1, 1, 0.6, 0.5), {"mode": "cubic", "antialias": 1, "exclude_outside": 1}),
        ((1, 2, 5, 6), (1, 1, 1.7, 2.3), {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1}),
        ((2, 3, 7), (1, 1, 2), {"mode": "linear"}),
        ((1, 2, 1, 3), (1, 1, 0.6, 2), {"mode": "linear"}),  # nothing is left
        ((1, 2, 3, 4, 5), (1, 1, 2, 2, 1.5), {"mode": "linear"}),
        ((1, 2, 3, 4, 5), (1, 1, 2, 2, 3), {"mode": "nearest"}),
    ],
    ids=str,
)
def test_resize_by_scales(shape: Any, scales: Any, attributes: dict[str, Any]) -> None:
    g = Graph()
    operands = ["", g.const(np.asarray(scales, np.float32))]
    g.op("Resize", g.input("x", normal(*shape)), *operands, out="y", **attributes)
    assert_same(g.model("y"), g.inputs, tolerance=2e-5)  # as for test_resize


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_cropped(mode: str) -> None:
    g = Graph()
    roi = g.const(np.asarray([0, 0, 0.2, 0.3, 1, 1, 0.9, 1.4], np.float32))
    operands = [roi, "", g.const(ints(1, 2, 4, 7))]
    attributes = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 3.5, "mode": mode}
    g.op("Resize", g.input("x", normal(1, 2, 5, 6)), *operands, out="y", **attributes)
    assert_same(g.model("y"), g.inputs, tolerance=2e-5)  # as for test_resize


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_nearest_of_integers(dtype: str) -> None:
    g = Graph()
    x = g.input("x", np.arange(30).reshape(1, 1, 5, 6).astype(dtype))
    g.op("Resize", x, "", "", g.const(ints(1, 1, 10, 7)), out="y", mode="nearest")
    assert_same(g.model("y"), g.inputs)


def test_resize_of_integers_in_between_is_refused() -> None:
    g = Graph()
    x = g.input("x", np.arange(30).reshape(1, 1, 5, 6).astype(np.uint8))
    g.op("Resize", x, "", "", g.const(ints(1, 1, 10, 7)), out="y", mode="linear")
    with pytest.raises(ModelError, match="uint8"):
        torch_view(g.model("y"))


@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("size", [(5, 6), (1, 4)], ids=str)
def test_grid_sample(mode: str, padding: str, aligned: int, size: tuple[int, int]) -> None:
    g = Graph()
    grid = g.input("g", normal(2, 9, 14, 2, seed=5) * 1.7)
    x = g.input("x", normal(2, 3, *size))
    g.op("GridSample", x, grid, out="y", mode=mode, padding_mode=padding, align_corners=aligned)
    assert_same(g.model("y"), g.inputs, tolerance=1e-4)  # coordinates at a pixel's edge: weights near 0 differ in 1e-5


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("aligned", [0, 1])
def test_ties_between_pixels(padding: str, aligned: int) -> None:
    """Coordinates are quarters, so that every product is exact and halves are met."""
    size = 5 if aligned else 4
    pixels = np.arange(-28, 29).astype(np.float32) / 4
    line = pixels / 2 - 1 if aligned else (pixels * 2 + 1) / 4 - 1
    grid = np.stack(np.meshgrid(line, line), -1)[None].astype(np.float32)
    g = Graph()
    x = g.input("x", normal(1, 2, size, size))
    g.op("GridSample", x, g.input("g", grid), out="y", mode="nearest", padding_mode=padding, align_corners=aligned)
    assert_same(g.model("y"), g.inputs)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(mode: str, padding: str) -> None:
    g = Graph()
    grid = g.input("g", normal(2, 3, 4, 2, 3, seed=5) * 1.2)
    g.op("GridSample", g.input("x", normal(2, 3, 4, 5, 3)), grid, out="y", mode=mode, padding_mode=padding)
    assert_same(g.model("y"), g.inputs, tolerance=1e-4)  # as for test_grid_sample


def test_cubic_volumes_are_refused() -> None:
    g = Graph()
    grid = g.input("g", normal(1, 2, 2, 2, 3))
    g.op("GridSample", g.input("x", normal(1, 1, 3, 3, 3)), grid, out="y", mode="cubic")
    with pytest.raises(ModelError, match="bicubic over 3"):
        torch_view(g.model("y"))


def test_sampling_is_trainable() -> None:
    """Gradients reach the image, also where pixels are gathered."""
    import torch

    g = Graph()
    x, grid = g.input("x", normal(1, 2, 4, 4)), g.input("g", normal(1, 3, 3, 2))
    modes = {"mode": "nearest", "padding_mode": "reflection"}
    view = torch_view(g.model(g.op("GridSample", x, grid, **modes)))
    assert "gather" in targets(view)
    image = torch.from_numpy(g.inputs["x"]).requires_grad_()
    view(image, torch.from_numpy(g.inputs["g"]))[0].sum().backward()
    assert image.grad is not None
    assert image.grad.sum().item() == 18  # every place of the output reads one pixel

"""Operators that move, pick or join elements, matrix products and attention against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_graphs import Graph, assert_same, lower, normal

from edgeport.errors import ModelError


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def image(g: Graph, *shape: int) -> str:
    """A value stored channels-last."""
    return str(g.op("Conv", g.input("x", normal(*shape)), g.const(normal(shape[1], shape[1], 1, 1, seed=9))))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat_of_different_layouts(tmp_path: Path, axis: int) -> None:
    g = Graph()
    a = image(g, 1, 4, 6, 6)
    b = g.op("Relu", g.input("b", normal(1, 4, 6, 6)))
    g.op("Concat", a, b, a, g.const(normal(1, 4, 6, 6)), axis=axis, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("axis", "sizes"), [(1, [2, 2]), (1, [1, 3]), (2, [2, 2, 2]), (3, [1] * 6), (-1, [6])], ids=str
)
def test_split(tmp_path: Path, axis: int, sizes: list[int]) -> None:
    g = Graph()
    outs = [f"y{i}" for i in range(len(sizes))]
    g.op("Split", image(g, 1, 4, 6, 6), g.const(i64(*sizes)), axis=axis, out=outs)
    assert_same(g, outs, tmp_path)


SLICES = [
    ((0, 1), (3, 5), (1, 2), (1, 1)),
    ((1,), (2**40,), (3,), (2,)),
    ((-1,), (-(2**40),), (2,), (-1,)),
    ((4,), (0,), (-1,), (-2,)),
    ((-3,), (-1,), (1,), (1,)),
    ((5, 0), (1, 4), (2, 1), (-3, 2)),
]


@pytest.mark.parametrize("spec", SLICES, ids=str)
def test_slice(tmp_path: Path, spec: tuple[tuple[int, ...], ...]) -> None:
    g = Graph()
    g.op("Slice", image(g, 1, 4, 6, 6), *(g.const(i64(*s)) for s in spec), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("indices", [np.int64(1), i64(-1, 0, 1), i64(1, 0).reshape(2, 1)], ids=str)
@pytest.mark.parametrize("constant", [True, False])
def test_gather(tmp_path: Path, axis: int, indices: np.ndarray, constant: bool) -> None:
    g = Graph()
    x = image(g, 2, 4, 3, 3)
    indices = np.asarray(indices if constant else np.abs(indices))
    g.op("Gather", x, g.const(indices) if constant else g.input("i", indices), axis=axis, out="y")
    assert_same(g, ["y"], tmp_path)


def test_embedding_and_its_negative_index_is_not_silent(tmp_path: Path) -> None:
    g = Graph()
    g.op("Gather", g.const(normal(10, 4)), g.input("ids", i64(3, 9, 0).reshape(1, 3)), out="y")
    assert_same(g, ["y"], tmp_path)
    from edgeport.targets.tflite.target import TFLITE

    artifact, model = lower(g, ["y"], tmp_path)
    with pytest.raises(ModelError, match="index"):
        TFLITE.runner(artifact, model).run({"ids": i64(3, -1, 0).reshape(1, 3)})


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("constant", [True, False])
def test_gather_elements(tmp_path: Path, axis: int, constant: bool) -> None:
    g = Graph()
    x = image(g, 2, 4, 3, 3)
    i = np.random.default_rng(0).integers(-2 if constant else 0, 2, (2, 3, 3, 2))
    g.op("GatherElements", x, g.const(i) if constant else g.input("i", i), axis=axis, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int64])
def test_scatter_at_constant_places(tmp_path: Path, dtype: type) -> None:
    g = Graph()
    x = g.input("x", np.round(normal(3, 4, 5) * 9).astype(dtype))
    rows = g.input("rows", np.round(normal(2, 5, seed=1) * 9).astype(dtype))
    g.op("ScatterND", x, g.const(i64(0, 1, 2, -1).reshape(2, 2)), rows, out="y")
    few = g.input("few", np.round(normal(2, 2, 1, seed=2) * 9).astype(dtype))
    g.op("ScatterElements", x, g.const(i64(3, 1, -4, 2).reshape(2, 2, 1)), few, axis=1, out="z")
    assert_same(g, ["y", "z"], tmp_path)


def test_byte_images_are_cast(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3), np.uint8)
    g = Graph()
    x = g.op("Cast", g.op("Transpose", g.input("x", pixels), perm=[0, 3, 1, 2]), to=1)
    g.op("Conv", g.op("Mul", x, g.const(np.float32(1 / 255))), g.const(normal(4, 3, 1, 1)), out="y")
    assert_same(g, ["y"], tmp_path)


def test_nodes_that_change_nothing(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Pad", image(g, 1, 3, 4, 4), g.const(i64(*[0] * 8)))
    x = g.op("Resize", x, "", g.const(np.ones(4, np.float32)))
    x = g.op("Max", g.op("Clip", x))
    assert assert_same(g, [x], tmp_path).facts["ops"] == {"CONV_2D": 1, "TRANSPOSE": 2}


def test_scalars(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Mul", g.input("x", np.asarray(1.5, np.float32)), g.input("v", normal(3)))
    g.op("ReduceMax", g.op("Sub", x, g.const(np.float32(2))), keepdims=0, out="y")
    assert_same(g, ["y"], tmp_path)


def test_gather_nd(tmp_path: Path) -> None:
    g = Graph()
    g.op("GatherND", g.input("x", normal(3, 4, 5)), g.const(i64(0, 1, 2, -1).reshape(2, 2)), out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
def test_steps_of_both_signs_gather_rows(tmp_path: Path, dtype: str) -> None:
    g = Graph()
    x = g.input("x", np.random.default_rng(0).integers(0, 2, (3, 8, 9, 5000)).astype(dtype))
    g.op(
        "Slice",
        x,
        g.const(i64(1, 7, 2)),
        g.const(i64(3, -20, 9)),
        g.const(i64(0, 1, 2)),
        g.const(i64(1, -3, 2)),
        out="y",
    )
    g.op("Slice", x, g.const(i64(4999)), g.const(i64(-6000)), g.const(i64(3)), g.const(i64(-1)), out="z")
    ops = assert_same(g, ["y", "z"], tmp_path).facts["ops"]
    assert ops == {"GATHER": 2, "SLICE": 1, "STRIDED_SLICE": 1}


@pytest.mark.parametrize(("channels", "count"), [(1, 3), (8, 3), (600, 1)])
def test_many_parts_are_joined_in_steps_unless_their_rows_are_long(tmp_path: Path, channels: int, count: int) -> None:
    g = Graph()
    x = g.input("x", normal(1, 7, 8, channels))
    parts = [g.op("Mul", x, g.const(np.float32(i))) for i in range(13)]
    g.op("Concat", *parts, axis=3, out="y")
    assert assert_same(g, ["y"], tmp_path).facts["ops"]["CONCATENATION"] == count


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
@pytest.mark.parametrize("value", [None, 0.0, 1.5])
def test_pad(tmp_path: Path, mode: str, value: float | None) -> None:
    g = Graph()
    extra = [] if value is None else [g.const(np.float32(value))]
    g.op("Pad", image(g, 1, 4, 5, 6), g.const(i64(0, 1, 2, 0, 0, 0, 1, 3)), *extra, mode=mode, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize(
    ("mode", "pads", "left"),
    [("reflect", 2, {}), ("reflect", 4, {}), ("reflect", 6, {"REVERSE_V2": 4}), ("edge", 9, {}), ("wrap", 6, {})],
    ids=str,
)
def test_borders_are_joined_on_xnnpack(tmp_path: Path, mode: str, pads: int, left: dict[str, int]) -> None:
    g = Graph()
    g.op("Pad", image(g, 1, 4, 7, 8), g.const(i64(0, 0, pads, pads, 0, 0, pads - 1, pads)), mode=mode, out="y")
    assert assert_same(g, ["y"], tmp_path).facts["not_on_xnnpack"] == left


def test_pad_of_given_axes_and_crop(tmp_path: Path) -> None:
    g = Graph()
    g.op("Pad", image(g, 1, 4, 5, 6), g.const(i64(2, -1, -1, 3)), "", g.const(i64(-1, 2)), out="y")
    assert_same(g, ["y"], tmp_path)


RESIZES: list[tuple[dict[str, Any], Any, Any]] = [
    ({"mode": m, "coordinate_transformation_mode": c, **extra}, scales, sizes)
    for m, c, extra in (
        ("nearest", "asymmetric", {"nearest_mode": "floor"}),
        ("nearest", "half_pixel", {}),
        ("nearest", "half_pixel", {"nearest_mode": "ceil"}),
        ("nearest", "align_corners", {"nearest_mode": "round_prefer_ceil"}),
        ("linear", "half_pixel", {}),
        ("linear", "pytorch_half_pixel", {}),
        ("linear", "align_corners", {}),
        ("linear", "asymmetric", {}),
        ("cubic", "half_pixel", {}),
        ("cubic", "pytorch_half_pixel", {"cubic_coeff_a": -0.5, "exclude_outside": 1}),
        ("linear", "half_pixel", {"antialias": 1}),
        ("cubic", "half_pixel", {"antialias": 1, "exclude_outside": 1}),
    )
    for scales, sizes in (([1, 1, 2, 2], None), ([1, 1, 1.5, 3], None), (None, [1, 3, 3, 9]), ([1, 1, 0.6, 0.5], None))
]


@pytest.mark.parametrize(("attributes", "scales", "sizes"), RESIZES, ids=str)
def test_resize(
    tmp_path: Path, attributes: dict[str, Any], scales: list[float] | None, sizes: list[int] | None
) -> None:
    g = Graph()
    x = image(g, 1, 3, 6, 4)
    more = ["", g.const(np.array(scales, np.float32))] if scales else ["", "", g.const(i64(*(sizes or [])))]
    g.op("Resize", x, *more, out="y", **attributes)
    try:
        assert_same(g, ["y"], tmp_path)
    except ModelError as refused:
        assert "no whole size" in str(refused)  # noqa: PT017 - specification and ONNX Runtime differ there
        assert attributes["coordinate_transformation_mode"] == "align_corners"
        assert scales == [1, 1, 0.6, 0.5]


@pytest.mark.parametrize("scales", [[1, 1, 2, 3], [1, 1, 1, 4], [1, 1, 5, 1]], ids=str)
def test_few_channels_are_enlarged_on_xnnpack(tmp_path: Path, scales: list[int]) -> None:
    g = Graph()
    half = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    g.op("Resize", image(g, 1, 3, 6, 4), "", g.const(np.array(scales, np.float32)), mode="nearest", out="y", **half)
    assert assert_same(g, ["y"], tmp_path).facts["not_on_xnnpack"] == {}


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsampling_by_two_is_one_kernel(tmp_path: Path, mode: str) -> None:
    g = Graph()
    half = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"} if mode == "nearest" else {}
    x = image(g, 1, 33, 6, 4)
    g.op("Resize", x, "", g.const(np.array([1, 1, 2, 2], np.float32)), mode=mode, out="y", **half)
    ops = assert_same(g, ["y"], tmp_path).facts["ops"]
    assert ops == {
        "CONV_2D": 1,
        "TRANSPOSE": 2,
        "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR": 1,
    }


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(tmp_path: Path, mode: str) -> None:
    g = Graph()
    g.op("DepthToSpace", image(g, 2, 12, 3, 5), blocksize=2, mode=mode, out="y")
    assert_same(g, ["y"], tmp_path)


def test_space_to_depth(tmp_path: Path) -> None:
    g = Graph()
    g.op("SpaceToDepth", image(g, 2, 3, 4, 6), blocksize=2, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_top_k_with_ties(tmp_path: Path, largest: int, axis: int) -> None:
    g = Graph()
    x = g.input("x", np.round(normal(2, 9, 7)))
    g.op("TopK", x, g.const(i64(4)), axis=axis, largest=largest, out=["v", "i"])
    assert_same(g, ["v", "i"], tmp_path)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(tmp_path: Path, axis: int) -> None:
    g = Graph()
    x = g.input("x", i64(0, 3, -1, 7, -9, 2).reshape(2, 3))
    g.op("OneHot", x, g.const(np.int64(5)), g.const(np.array([-1, 2], np.float32)), axis=axis, out="y")
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("flags", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}], ids=str)
def test_cum_sum(tmp_path: Path, flags: dict[str, int]) -> None:
    g = Graph()
    g.op("CumSum", g.input("x", normal(3, 4, 5)), g.const(np.int64(-2)), out="y", **flags)
    assert_same(g, ["y"], tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64", "bool", "uint8"])
def test_expand_and_tile(tmp_path: Path, dtype: str) -> None:
    g = Graph()
    x = g.input("x", np.random.default_rng(0).integers(0, 2, (1, 4, 1, 3)).astype(dtype))
    g.op("Expand", x, g.const(i64(2, 1, 5, 1)), out="y")
    g.op("Tile", x, g.const(i64(1, 2, 3, 1)), out="z")
    facts = assert_same(g, ["y", "z"], tmp_path).facts
    assert set(facts["not_on_xnnpack"]) == (set() if dtype == "float32" else {"TILE"})


def test_repetition_of_many_axes_and_of_what_is_no_number(tmp_path: Path) -> None:
    g = Graph()
    data = normal(1, 2, 1, 3, 1, 2, 1)
    data[0, 0, 0, :, 0, 0, 0] = [np.inf, -np.inf, np.nan]
    g.op("Expand", g.input("x", data), g.const(i64(2, 2, 3, 3, 1, 2, 4)), out="y")
    assert_same(g, ["y"], tmp_path)


MATMULS = [
    ((2, 3, 4), (4, 5), True),
    ((3, 4), (4, 5), True),
    ((4,), (4, 5), True),
    ((2, 3, 4), (2, 4, 5), True),
    ((2, 3, 4), (2, 4, 5), False),
    ((2, 1, 3, 4), (3, 4, 5), False),
    ((4,), (4, 5), False),
    ((2, 3, 4), (4,), False),
    ((4,), (4,), False),
    ((1, 2, 2, 3, 4), (4, 6), True),
]


@pytest.mark.parametrize(("a", "b", "constant"), MATMULS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_matmul(tmp_path: Path, a: tuple[int, ...], b: tuple[int, ...], constant: bool, bias: bool) -> None:
    g = Graph()
    w = normal(*b, seed=1)
    y = g.op("MatMul", g.input("a", normal(*a)), g.const(w) if constant else g.input("b", w))
    y = g.op("Add", y, g.const(normal(b[-1], seed=2))) if bias and len(b) > 1 else y
    g.op("Relu", y, out="y")
    artifact = assert_same(g, ["y"], tmp_path)
    if constant and len(b) == 2:
        assert "FULLY_CONNECTED" in artifact.facts["ops"]
        assert "ADD" not in artifact.facts["ops"]


def test_constant_on_the_left(tmp_path: Path) -> None:
    g = Graph()
    g.op("MatMul", g.const(normal(5, 3)), g.input("x", normal(2, 3, 4)), out="y")
    assert assert_same(g, ["y"], tmp_path).facts["ops"] == {"FULLY_CONNECTED": 1, "TRANSPOSE": 2}


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)], ids=str)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [None, "bool", "float", "constant"])
def test_attention(tmp_path: Path, heads: tuple[int, int], causal: int, mask: str | None) -> None:
    g = Graph()
    q = g.input("q", normal(2, heads[0], 5, 8))
    k, v = (g.input(n, normal(2, heads[1], 7, 8, seed=s)) for s, n in ((1, "k"), (2, "v")))
    allowed = np.ones((2, 1, 5, 7), bool)
    allowed[:, :, :, 4:] = False
    allowed[1, :, :, 2:] = False
    masks: dict[str | None, Callable[[], list[str]]] = {
        None: list,
        "bool": lambda: [g.input("m", allowed)],
        "float": lambda: [g.input("m", np.where(allowed, 0, -1e4).astype(np.float32))],
        "constant": lambda: [g.const(allowed)],
    }
    g.op("Attention", q, k, v, *masks[mask](), is_causal=causal, scale=0.3, out="y")
    assert_same(g, ["y"], tmp_path)

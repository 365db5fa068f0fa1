"""Spatial operators written out in standard ones, against ONNX Runtime's own kernels for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from edgeport.passes import canonicalize

RANDOM = np.random.default_rng(3)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def model(
    op_type: str, x: np.ndarray, *constants: np.ndarray | None, opset: int = 22, outputs: int = 1, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One node that reads a runtime input and constants (None: an input left out)."""
    names = ["" if c is None else f"c{i}" for i, c in enumerate(constants)]
    outs = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, ["x", *names], outs, name="n", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(o, onnx.TensorProto.FLOAT, None) for o in outs],
        [onnx.numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True) if c is not None],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(proto, data_prop=True), {"x": x}


LP_POOLS = [
    {"kernel_shape": [3, 3]},
    {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1, "pads": [1, 0, 1, 1]},
    {"kernel_shape": [2, 2], "dilations": [2, 3]},
]


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("attributes", LP_POOLS, ids=str)
def test_lp_pool(check: Any, p: int, attributes: dict[str, Any]) -> None:
    proto, feeds = model("LpPool", floats(2, 3, 8, 9), p=p, **attributes)
    assert "LpPool" not in check(proto, feeds=feeds, tolerance=3e-5).ops


@pytest.mark.parametrize("p", [1, 2, 3])
def test_global_lp_pool(check: Any, p: int) -> None:
    proto, feeds = model("GlobalLpPool", floats(2, 3, 5, 4), opset=18, p=p)
    assert "GlobalLpPool" not in check(proto, feeds=feeds).ops


@pytest.mark.parametrize(
    ("target", "axes"), [((8, 9, 3), None), ((5, 12), (1, 0)), ((4,), (-1,)), ((7, 8, 3), None), ((7, 3), (0, 2))]
)
def test_center_crop_pad(check: Any, target: tuple[int, ...], axes: tuple[int, ...] | None) -> None:
    chosen = {} if axes is None else {"axes": axes}
    proto, feeds = model("CenterCropPad", floats(7, 8, 3), ints(*target), opset=18, **chosen)
    assert set(check(proto, feeds=feeds).ops) <= {"Slice", "Pad", "Identity"}


@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 2, 3, 4, 2)], ids=str)
@pytest.mark.parametrize("aligned", [0, 1])
def test_affine_grid(check: Any, size: tuple[int, ...], aligned: int) -> None:
    n = len(size) - 2
    proto, feeds = model("AffineGrid", floats(size[0], n, n + 1), ints(*size), opset=20, align_corners=aligned)
    assert set(check(proto, feeds=feeds).ops) == {"Transpose", "MatMul", "Reshape"}


@pytest.mark.parametrize(
    ("image", "block", "attributes"),
    [
        ((6, 7), (2, 3), {}),
        ((6, 7), (3, 2), {"strides": [2, 2], "pads": [1, 0, 1, 1]}),
        ((9, 8), (2, 2), {"dilations": [2, 3], "strides": [3, 1]}),
        ((12,), (4,), {"strides": [2]}),
    ],
)
def test_col2im(check: Any, image: tuple[int, ...], block: tuple[int, ...], attributes: dict[str, Any]) -> None:
    n = len(image)
    given = {"strides": [1] * n, "dilations": [1] * n, "pads": [0] * 2 * n} | attributes
    places = 1
    for i in range(n):
        span = image[i] + given["pads"][i] + given["pads"][n + i] - (block[i] - 1) * given["dilations"][i] - 1
        places *= span // given["strides"][i] + 1
    x = floats(2, 3 * int(np.prod(block)), places)
    proto, feeds = model("Col2Im", x, ints(*image), ints(*block), opset=18, **attributes)
    assert "ConvTranspose" in check(proto, feeds=feeds).ops


@pytest.mark.parametrize("past", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_conv(past: bool, bias: bool, activation: str) -> None:
    constants = [floats(4, 1, 3), floats(4) if bias else None, floats(2, 4, 2) if past else None]
    proto, feeds = model("CausalConvWithState", floats(2, 4, 6), *constants, opset=27, outputs=2, activation=activation)
    wanted = ReferenceEvaluator(proto).run(None, feeds)  # ONNX Runtime does not know its opset
    canonical = ir.serde.serialize_model(canonicalize(ir.serde.deserialize_model(proto)))
    session = ort.InferenceSession(canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, feeds)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # three products summed in float32


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("offset_groups", [1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_deform_conv(check: Any, groups: int, offset_groups: int, masked: bool) -> None:
    attributes = {"strides": [2, 1], "pads": [1, 1, 0, 1], "dilations": [1, 2], "kernel_shape": [3, 2]}
    offset = floats(2, offset_groups * 6 * 2, 3, 8) * 2  # some taps leave the image
    mask = floats(2, offset_groups * 6, 3, 8) if masked else None
    constants = [floats(6, 4 // groups, 3, 2), offset, floats(6), mask]
    proto, feeds = model(
        "DeformConv", floats(2, 4, 6, 8), *constants, opset=19, group=groups, offset_group=offset_groups, **attributes
    )
    # Pixels become coordinates in [-1, 1] and pixels again, which rounds twice: 1e-6 of the side, times the slope.
    assert "GridSample" in check(proto, feeds=feeds, tolerance=2e-5).ops


@pytest.mark.parametrize(("opset", "coordinates"), [(10, None), (16, "half_pixel"), (21, "output_half_pixel")])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_roi_align(check: Any, opset: int, coordinates: str | None, ratio: int, mode: str) -> None:
    regions = np.array([[0, 0, 9, 9], [-6, 3, 12, 30], [4.3, 2.2, 4.9, 2.4], [10, 12, 25, 13.5]], np.float32)
    facts = {"output_height": 3, "output_width": 2, "sampling_ratio": ratio, "spatial_scale": 0.5, "mode": mode}
    given = {} if coordinates is None else {"coordinate_transformation_mode": coordinates}
    proto, feeds = model("RoiAlign", floats(2, 3, 8, 7), regions, ints(0, 1, 1, 0), opset=opset, **facts, **given)
    assert "RoiAlign" not in check(proto, feeds=feeds).ops


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("coordinates", ["half_pixel", "output_half_pixel"])
@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("opset", [16, 20])
def test_roi_align_of_computed_regions(check: Any, opset: int, mode: str, coordinates: str, images: int) -> None:
    regions = np.array([[0, 0, 9, 9], [-6, 3, 12, 30], [4.3, 2.2, 4.9, 2.4], [10, 12, 25, 13.5]], np.float32)
    facts = {"output_height": 3, "output_width": 2, "sampling_ratio": 2, "spatial_scale": 0.5, "mode": mode}
    where = ints(0, 1, 1, 0) % images
    proto, feeds = model(
        "RoiAlign",
        floats(images, 3, 8, 7),
        regions,
        where,
        opset=opset,
        coordinate_transformation_mode=coordinates,
        **facts,
    )
    proto.graph.input.append(helper.make_tensor_value_info("c0", onnx.TensorProto.FLOAT, regions.shape))
    del proto.graph.initializer[0]
    assert "GridSample" in check(proto, feeds={**feeds, "c0": regions}).ops

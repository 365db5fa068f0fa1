"""Resize: interpolation as a matrix an axis, matched against what TFLite's kernels compute.

ONNX has six coordinate modes, four rounding modes and three kernels; TFLite has two flags. So the matrix that
ONNX defines for each axis is written out and compared with the matrix of each flag setting: equal means the
kernel is exact. Where none is, nearest becomes a GATHER an axis and the rest a constant matrix product an axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tflite.attributes import float_attr, int_attr, ints_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.interpolation import axis_matrix, tflite_matrix
from edgeport.targets.tflite.layout import Layout
from edgeport.targets.tflite.ops.conv import NHWC
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.ops.pad import gathered
from edgeport.targets.tflite.ops.unary import same
from edgeport.targets.tflite.registry import Refused, lowers

_ATTRIBUTES = (
    "antialias",
    "axes",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "extrapolation_value",
    "keep_aspect_ratio_policy",
    "mode",
    "nearest_mode",
)
_FLAGS: tuple[dict[str, bool], ...] = (
    {"alignCorners": False, "halfPixelCenters": False},
    {"alignCorners": False, "halfPixelCenters": True},
    {"alignCorners": True, "halfPixelCenters": False},
)


@lowers("Resize", attributes=_ATTRIBUTES, inputs=4, int8=True)
def resize(ctx: Context, node: ir.Node) -> None:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR where exact, else GATHER or FULLY_CONNECTED an axis."""
    x, y = first(node), node.outputs[0]
    shape, out_shape = ctx.shape(x), ctx.shape(y)
    mode = string_attr(node, "mode", "nearest")
    matrices = _matrices(ctx, node, shape, out_shape)
    if not matrices:
        same(ctx, node)
        return
    if len(shape) == 4 and set(matrices) <= {2, 3} and mode in ("nearest", "linear"):
        pair = [matrices.get(a, np.eye(shape[a])) for a in (2, 3)]
        for flags in _FLAGS:
            sizes = zip((2, 3), pair, strict=True)
            if all(np.allclose(tflite_matrix(shape[a], out_shape[a], mode, **flags), m, atol=1e-6) for a, m in sizes):
                _kernel(ctx, node, mode, flags)
                return
    layout = ctx.full_layout(x)
    if mode == "nearest":
        data = ctx.read(node, x, layout)
        for axis, matrix in matrices.items():
            data = gathered(ctx, y, data, matrix.argmax(1), layout.index(axis))
        ctx.bind(node, y, data, layout)
    else:
        _products(ctx, node, matrices)


def _matrices(ctx: Context, node: ir.Node, shape: tuple[int, ...], out_shape: tuple[int, ...]) -> dict[int, Array]:
    """Interpolation matrices [out, in] of the axes that are resampled."""
    axes = [a % len(shape) for a in ints_attr(node, "axes") or range(len(shape))]
    given = ctx.constant(node.inputs[2]) if len(node.inputs) > 2 else None
    coordinates = string_attr(node, "coordinate_transformation_mode", "half_pixel")
    if coordinates == "tf_crop_and_resize":
        raise Refused("coordinate_transformation_mode='tf_crop_and_resize' is not supported")
    if given is not None and given.size:
        scales = dict(zip(axes, (float(s) for s in given.reshape(-1)), strict=True))
    else:
        policy = string_attr(node, "keep_aspect_ratio_policy", "stretch")
        scales = {a: out_shape[a] / shape[a] for a in axes}
        if policy != "stretch":
            raise Refused(f"keep_aspect_ratio_policy={policy!r} is not supported", "use 'stretch'")
    result = {}
    for axis, scale in scales.items():
        if out_shape[axis] == shape[axis] and scale == 1.0:
            continue
        result[axis] = axis_matrix(
            shape[axis],
            out_shape[axis],
            scale,
            mode=string_attr(node, "mode", "nearest"),
            coordinates=coordinates,
            rounding=string_attr(node, "nearest_mode", "round_prefer_floor"),
            cubic_a=float_attr(node, "cubic_coeff_a", -0.75),
            exclude_outside=bool(int_attr(node, "exclude_outside", 0)),
            antialias=bool(int_attr(node, "antialias", 0)),
        )
    return result


def _kernel(ctx: Context, node: ir.Node, mode: str, flags: dict[str, bool]) -> None:
    x, y = first(node), node.outputs[0]
    data = ctx.read(node, x, NHWC)
    out = ctx.carrier(y, NHWC, data)
    size = ctx.ints("size", ctx.shape(y)[2:])
    code, options = (
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        if mode == "nearest"
        else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    )
    settings: dict[str, Any] = dict(flags)
    ctx.emit(code, [data, size], [out], options, **settings)
    ctx.bind(node, y, out, NHWC)


def _products(ctx: Context, node: ir.Node, matrices: dict[int, Array]) -> None:
    """One FULLY_CONNECTED an axis, which has to lie last for it."""
    x, y = first(node), node.outputs[0]
    layout: Layout = (*(a for a in ctx.full_layout(x) if a not in matrices), *matrices)
    data: Tensor | None = None
    for axis, matrix in matrices.items():
        wanted = (*(a for a in layout if a != axis), axis)
        if data is None:
            data = ctx.read_float(x, wanted)
        elif wanted != layout:
            perm = [layout.index(a) for a in wanted]
            moved = ctx.temporary(y, "moved", [data.shape[p] for p in perm])
            ctx.transpose(data, perm, moved)
            data = moved
        layout = wanted
        weights = ctx.builder.constant(f"{y.name}/interpolation", matrix.astype(np.float32))
        out = ctx.temporary(y, "product", (*data.shape[:-1], len(matrix)))
        ctx.emit(
            "FULLY_CONNECTED",
            [data, weights, None],
            [out],
            "FullyConnectedOptions",
            fusedActivationFunction=0,
            keepNumDims=True,
        )
        data = out
    assert data is not None
    ctx.bind_float(node, y, data, layout)

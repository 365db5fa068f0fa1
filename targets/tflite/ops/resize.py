"""Resize: interpolation as a matrix an axis, matched against what TFLite's kernels compute.

ONNX has seven coordinate modes, four rounding modes and three kernels; TFLite has two flags. So the matrix that
ONNX defines for each axis is written out and compared with the matrix of each flag setting: equal means the
kernel is exact. An axis for which none is becomes a GATHER in mode nearest, else a constant matrix product.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.interpolation import RESIZE_ATTRIBUTES, resize_matrices
from edgeport.targets.tflite.attributes import float_attr, string_attr
from edgeport.targets.tflite.builder import Tensor
from edgeport.targets.tflite.context import Context
from edgeport.targets.tflite.interpolation import tflite_matrix
from edgeport.targets.tflite.layout import Layout, channels_last, stored_shape
from edgeport.targets.tflite.layout_choice import full_layout
from edgeport.targets.tflite.ops.conv import image_layout
from edgeport.targets.tflite.ops.index import first
from edgeport.targets.tflite.ops.pad import gathered
from edgeport.targets.tflite.ops.repeat import stretched
from edgeport.targets.tflite.ops.unary import same
from edgeport.targets.tflite.pieces import shaped
from edgeport.targets.tflite.registry import Refused, lowers
from edgeport.targets.tflite.resample import multiplied

_FEW_CHANNELS = 32
"""Up to here float pixels are repeated faster by XNNPACK's MUL than by RESIZE_NEAREST_NEIGHBOR (1.5 to 15 times)."""
_FLAGS: tuple[dict[str, bool], ...] = (
    {"alignCorners": False, "halfPixelCenters": False},
    {"alignCorners": False, "halfPixelCenters": True},
    {"alignCorners": True, "halfPixelCenters": False},
)


@lowers("Resize", attributes=RESIZE_ATTRIBUTES, inputs=4, int8=True)
def resize(ctx: Context, node: ir.Node) -> None:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR over height and width where exact, else axis by axis."""
    x, y = first(node), node.outputs[0]
    mode = string_attr(node, "mode", "nearest")
    matrices = resize_matrices(node, ctx.shape(x), ctx.shape(y))
    if not matrices:
        same(ctx, node)
        return
    flags = _exact_flags(mode, matrices, ctx.rank(x))
    if flags is not None:
        _kernel(ctx, node, mode, matrices, flags)
        return
    crops = [axis for axis, matrix in matrices.items() if not matrix.any(1).all()]
    layout = full_layout(ctx, x)
    if mode == "nearest" and not crops:
        data = ctx.read(node, x, layout)
        for axis, matrix in matrices.items():
            data = gathered(ctx, y, data, matrix.argmax(1), layout.index(axis))
        ctx.bind(node, y, data, layout)
        return
    if ctx.dtype(x) != "float32":
        raise Refused(f"mode={mode!r} of {ctx.dtype(x)} is not supported", "cast to float32")
    data = ctx.read_float(x, layout)
    for axis in sorted(matrices, key=lambda a: len(matrices[a]) / matrices[a].shape[1]):  # what shrinks comes first
        data = multiplied(ctx, y, data, matrices[axis], layout.index(axis))
    if crops:
        data = _extrapolated(ctx, node, data, layout, matrices)
    ctx.bind_float(node, y, data, layout)


def _exact_flags(mode: str, matrices: dict[int, Array], rank: int) -> dict[str, bool] | None:
    """Settings under which the kernel computes these matrices; None where none does."""
    if rank not in (3, 4, 5) or not set(matrices) <= set(range(2, rank)) or mode == "cubic":
        return None
    last = [matrices[a] for a in (rank - 2, rank - 1) if a in matrices]
    if not last:
        return None

    def equal(matrix: Array, flags: dict[str, bool]) -> bool:
        out, size = matrix.shape
        return np.allclose(tflite_matrix(size, out, mode, **flags), matrix, atol=1e-6)

    return next((f for f in _FLAGS if all(equal(m, f) for m in last)), None)


def _kernel(ctx: Context, node: ir.Node, mode: str, matrices: dict[int, Array], flags: dict[str, bool]) -> None:
    """Height and width by the kernel, seen as [planes, height, width, channels]; depth before or after it."""
    x, y = first(node), node.outputs[0]
    rank = ctx.rank(x)
    layout = image_layout(rank) if rank < 5 else channels_last(rank)
    nearest = mode == "nearest"
    if not nearest and ctx.dtype(x) != "float32":
        raise Refused(f"mode={mode!r} of {ctx.dtype(x)} is not supported", "cast to float32")
    depth = matrices.get(2) if rank == 5 else None
    if depth is None:
        data = ctx.read(node, x, layout)
    elif nearest:
        data = gathered(ctx, y, ctx.read(node, x, layout), depth.argmax(1), 1)
    else:
        data = multiplied(ctx, y, ctx.read_float(x, layout), depth, 1)
    planes = shaped(ctx, y, data, (math.prod(data.shape[:-3]), *data.shape[-3:]))
    factors = {a: _whole_factor(m) for a, m in matrices.items() if a >= rank - 2} if nearest else {}
    if all(factors.values()) and factors and planes.dtype == "float32" and planes.shape[3] <= _FEW_CHANNELS:
        for axis, factor in sorted(factors.items(), reverse=True):
            planes = stretched(ctx, y, planes, 3 - (rank - axis), factor)
        ctx.bind(node, y, shaped(ctx, y, planes, stored_shape(ctx.shape(y), layout)), layout)
        return
    size = (1, *ctx.shape(y)[2:])[-2:]
    code, options = (
        ("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions")
        if nearest
        else ("RESIZE_BILINEAR", "ResizeBilinearOptions")
    )
    out_shape = (planes.shape[0], *size, planes.shape[3])
    if rank < 5:
        out = ctx.carrier(y, layout, planes)
    else:
        out = ctx.temporary(y, "resized", out_shape, planes.dtype, planes.quant)
    settings: dict[str, Any] = dict(flags)
    ctx.emit(code, [planes, ctx.ints("size", size)], [out], options, **settings)
    result = shaped(ctx, y, out, stored_shape(ctx.shape(y), layout))
    if depth is not None and not nearest:
        ctx.bind_float(node, y, result, layout)
    else:
        ctx.bind(node, y, result, layout)


def _whole_factor(matrix: Array) -> int:
    """How often each element stands in the result, 0 where some stand more often than others."""
    rows, columns = matrix.shape
    factor, rest = divmod(rows, columns)
    repeats = rest == 0 and np.array_equal(matrix.argmax(1), np.arange(rows) // factor)
    return factor if repeats else 0


def _extrapolated(ctx: Context, node: ir.Node, data: Tensor, layout: Layout, matrices: dict[int, Array]) -> Tensor:
    """Writes extrapolation_value where the region reaches beyond the data: there the products are zero."""
    value = float_attr(node, "extrapolation_value", 0.0)
    if value == 0.0:
        return data
    inside = np.ones((1,) * len(layout), bool)
    for axis, matrix in matrices.items():
        position = layout.index(axis)
        inside = inside & matrix.any(1).reshape([-1 if i == position else 1 for i in range(len(layout))])
    y = node.outputs[0]
    fill = ctx.builder.constant(f"{y.name}/extrapolation", np.where(inside, 0, value).astype(np.float32))
    return ctx.step(y, "ADD", [data, fill], "AddOptions", fusedActivationFunction=0)

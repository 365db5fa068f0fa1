"""Resize: interpolation as a matrix an axis, matched against what Core ML's kernels are documented to compute.

Which pixel Core ML's nearest-neighbour kernels take is not documented, except for whole factors: any other axis is a
`gather`. A linear kernel is used where its documented grid gives the very matrix that ONNX defines, else the matrix
itself is multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_str
from edgeport.sample import Array
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.products import multiplied
from edgeport.targets.coreml.registry import Refused, lowers
from edgeport.targets.interpolation import RESIZE_ATTRIBUTES, resize_matrices

_GRIDS = ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS", "DEFAULT")
"""Sampling modes of `resize_bilinear`."""


@lowers("Resize", attributes=RESIZE_ATTRIBUTES, inputs=4)
def resize(ctx: Context, node: ir.Node) -> None:
    """Kernels over height and width where they are exact, else axis by axis."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    mode = get_str(node, "mode", "nearest")
    matrices = resize_matrices(node, ctx.shape(x), ctx.shape(y))
    data = ctx.read(x)
    if not matrices:
        ctx.bind(y, data)
        return
    crops = any(not matrix.any(1).all() for matrix in matrices.values())
    if mode == "nearest" and not crops:
        ctx.bind(y, _nearest(ctx, data, matrices))
        return
    if ctx.dtype(x) != "float32":
        raise Refused(f"mode={mode!r} of {ctx.dtype(x)} is not supported", "cast to float32")
    data = _interpolated(ctx, data, matrices, linear=mode == "linear")
    ctx.bind(y, _extrapolated(ctx, node, data, matrices) if crops else data)


def _nearest(ctx: Context, data: Var, matrices: Mapping[int, Array]) -> Var:
    rank = len(data.shape)
    last = {axis: matrices.get(axis) for axis in (rank - 2, rank - 1)}
    factors = [1 if m is None else _whole_factor(m) for m in last.values()]
    if mil.dtype_of(data).startswith("float") and rank >= 3 and all(factors) and math.prod(factors) > 1:
        height, width = (np.int32(f) for f in factors)
        data = ctx.emit("upsample_nearest_neighbor", x=data, scale_factor_height=height, scale_factor_width=width)
        matrices = {axis: matrix for axis, matrix in matrices.items() if axis not in last}
    for axis, matrix in matrices.items():
        data = ctx.emit("gather", x=data, indices=matrix.argmax(1).astype(np.int32), axis=np.int32(axis))
    return data


def _interpolated(ctx: Context, data: Var, matrices: Mapping[int, Array], linear: bool) -> Var:
    rank = len(data.shape)
    last = {axis: matrices[axis] for axis in (rank - 2, rank - 1) if axis in matrices}
    grid = next((g for g in _GRIDS if all(_is_grid(m, g) for m in last.values())), None) if linear and last else None
    rest = {a: m for a, m in matrices.items() if grid is None or rank < 3 or a not in last}
    for axis in sorted(rest, key=lambda a: len(rest[a]) / rest[a].shape[1]):  # what shrinks comes first
        data = multiplied(ctx, data, rest[axis], axis)
    if grid is None or rank < 3:
        return data
    height, width = (len(last[a]) if a in last else data.shape[a] for a in (rank - 2, rank - 1))
    factors = [out / data.shape[a] for a, out in ((rank - 2, height), (rank - 1, width))]
    if grid == "UNALIGN_CORNERS" and all(f == int(f) for f in factors):
        up, right = (np.int32(f) for f in factors)
        facts: dict[str, Any] = {
            "scale_factor_height": up,
            "scale_factor_width": right,
            "align_corners": np.bool_(False),
        }
        return ctx.emit("upsample_bilinear", x=data, **facts)
    sizes: dict[str, Any] = {"target_size_height": np.int32(height), "target_size_width": np.int32(width)}
    return ctx.emit("resize_bilinear", x=data, sampling_mode=grid, **sizes)


def _is_grid(matrix: Array, grid: str) -> bool:
    """Whether a sampling mode of `resize_bilinear`, as coremltools documents it, gives this matrix [out, in]."""
    out, size = matrix.shape
    if out == 1:  # of which the modes' formulas divide by zero
        return False
    i = np.arange(out)
    if grid == "UNALIGN_CORNERS":
        x = (i + 0.5) * size / out - 0.5
    else:
        x = i * ((size - 1) / (out - 1) if grid == "STRICT_ALIGN_CORNERS" else size / out)
    x = np.clip(x, 0, size - 1)
    low = np.minimum(np.floor(x).astype(int), size - 1)
    wanted = np.zeros_like(matrix)
    np.add.at(wanted, (i, low), 1 - (x - low))
    np.add.at(wanted, (i, np.minimum(low + 1, size - 1)), x - low)
    return bool(np.allclose(wanted, matrix, atol=1e-6))


def _whole_factor(matrix: Array) -> int:
    """How often each element stands in the result, 0 where some stand more often than others."""
    rows, columns = matrix.shape
    factor, rest = divmod(rows, columns)
    repeats = rest == 0 and np.array_equal(matrix.argmax(1), np.arange(rows) // factor)
    return factor if repeats else 0


def _extrapolated(ctx: Context, node: ir.Node, data: Var, matrices: Mapping[int, Array]) -> Var:
    """Writes extrapolation_value where the region reaches beyond the data: there the products are zero."""
    value, rank = get_float(node, "extrapolation_value", 0.0), len(data.shape)
    if value == 0.0:
        return data
    inside = np.ones((1,) * rank, bool)
    for axis, matrix in matrices.items():
        inside = inside & matrix.any(1).reshape([-1 if i == axis else 1 for i in range(rank)])
    return ctx.emit("add", x=data, y=ctx.floating(np.where(inside, 0, value)))

"""Resize: samples at places that are known beforehand.

The matrix that ONNX defines for each axis is written out. Where the grid of Core AI's `interpolate` gives the same it
is used, else nearest pixels are gathered and other matrices multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_str
from edgeport.sample import Array
from edgeport.targets.coreai.context import Context
from edgeport.targets.coreai.folds import matmul
from edgeport.targets.coreai.ops.elementwise import floats
from edgeport.targets.coreai.program import Tensor
from edgeport.targets.coreai.registry import lowers
from edgeport.targets.coreai.views import broadcast, moved, reshape, signed, take, unsqueeze
from edgeport.targets.interpolation import RESIZE_ATTRIBUTES, resize_matrices


@lowers("Resize", attributes=RESIZE_ATTRIBUTES, inputs=4)
def resize(ctx: Context, node: ir.Node) -> None:
    """Axis by axis, or all axes by one operation."""
    x, mode = ctx.read(node, 0), get_str(node, "mode", "nearest")
    matrices = resize_matrices(node, x.shape, ctx.shape(node.outputs[0]))
    crops = any(not matrix.any(1).all() for matrix in matrices.values())
    if mode == "nearest" and not crops:
        for axis, matrix in matrices.items():
            x = _nearest(x, matrix, axis)
        ctx.bind(node, x)
        return
    floats(node, x)
    grids = {axis: _grid(matrix) for axis, matrix in matrices.items()} if mode == "linear" else {}
    native = {axis: grid for axis, grid in grids.items() if grid is not None}
    for axis, matrix in matrices.items():
        if axis not in native:
            x = moved(matmul(moved(x, axis, -1), x.like(matrix.T)), -1, axis)
    x = _interpolated(x, native, {axis: len(matrices[axis]) for axis in native})
    ctx.bind(node, _extrapolated(node, x, matrices) if crops else x)


def _nearest(x: Tensor, matrix: Array, axis: int) -> Tensor:
    """Elements repeated a whole number of times each, or gathered."""
    found, (rows, columns) = matrix.argmax(1), matrix.shape
    factor = rows // columns
    if factor * columns != rows or not np.array_equal(found, np.arange(rows) // factor):
        return take(x, found, axis)
    spread = unsqueeze(x, axis + 1)
    shape = [*x.shape[: axis + 1], factor, *x.shape[axis + 1 :]]
    return reshape(broadcast(spread, shape), [rows if a == axis else d for a, d in enumerate(x.shape)])


def _grid(matrix: Array) -> tuple[float, float] | None:
    """Scale and offset with which `interpolate` computes a matrix, None if there are none."""
    out, size = matrix.shape
    for scale, offset in _grids(size, out):
        at = np.clip((np.arange(out) + 0.5 - offset) / scale - 0.5, 0, size - 1)
        low = np.minimum(np.floor(at).astype(int), size - 1)
        own = np.zeros(matrix.shape)
        np.add.at(own, (np.arange(out), low), 1 - (at - low))
        np.add.at(own, (np.arange(out), np.minimum(low + 1, size - 1)), at - low)
        if np.allclose(own, matrix, atol=1e-6):
            return scale, offset
    return None


def _grids(size: int, out: int) -> Iterator[tuple[float, float]]:
    """Half pixels, first pixels, and corners aligned."""
    scale = out / size
    yield scale, 0.0
    yield scale, 0.5 - 0.5 * scale
    if out > 1 and size > 1:
        scale = (out - 1) / (size - 1)
        yield scale, 0.5 - 0.5 * scale


def _interpolated(x: Tensor, grids: Mapping[int, tuple[float, float]], sizes: Mapping[int, int]) -> Tensor:
    if not grids:
        return x
    shape = [sizes.get(a, d) for a, d in enumerate(x.shape)]
    pairs = [grids.get(a, (1.0, 0.0)) for a in range(x.rank)]
    scales, offsets = (np.asarray(values, np.float32) for values in zip(*pairs, strict=True))
    return x.builder.step("interpolate", [x, signed(shape), scales, offsets], shape, x.dtype, mode="linear")


def _extrapolated(node: ir.Node, x: Tensor, matrices: Mapping[int, Array]) -> Tensor:
    """`extrapolation_value` where the region reaches beyond the data: there the products are zero."""
    value = get_float(node, "extrapolation_value", 0.0)
    if value == 0:
        return x
    inside = np.ones((1,) * x.rank, bool)
    for axis, matrix in matrices.items():
        inside = inside & matrix.any(1).reshape([-1 if a == axis else 1 for a in range(x.rank)])
    return x + np.where(inside, 0, value)

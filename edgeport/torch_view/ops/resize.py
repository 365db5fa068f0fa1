"""Resize: samples at places that are known beforehand.

The matrix that ONNX defines for each axis is written out. Where torch's `interpolate` has the same it is used, else
nearest pixels are gathered and other matrices multiplied.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from edgeport.passes.edit import get_float, get_str
from edgeport.sample import Array
from edgeport.targets.interpolation import RESIZE_ATTRIBUTES, resize_matrices
from edgeport.torch_view.context import Context
from edgeport.torch_view.ops.elementwise import floats
from edgeport.torch_view.registry import lowers

_NATIVE: dict[str, tuple[tuple[str, bool | None], ...]] = {
    "nearest": (("nearest", None), ("nearest-exact", None)),
    "linear": (("linear", False), ("linear", True)),
}
"""Modes of `interpolate` with `align_corners` that may give what a mode of ONNX does."""
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@lowers("Resize", attributes=RESIZE_ATTRIBUTES, inputs=4)
def resize(ctx: Context, node: ir.Node) -> None:
    """All axes by one function, or axis by axis."""
    x, mode = ctx.read(node, 0), get_str(node, "mode", "nearest")
    value = node.inputs[0]
    assert value is not None  # it was read
    shape = ctx.shape(value)
    matrices = resize_matrices(node, shape, ctx.shape(node.outputs[0]))
    crops = any(not matrix.any(1).all() for matrix in matrices.values())
    if mode != "nearest" or crops:
        floats(ctx, node)
    form = None if crops or not ctx.dtype(value).startswith("float") else _native(matrices, mode, len(shape))
    if form is not None:
        name, aligned = form
        target = [len(matrices[a]) if a in matrices else shape[a] for a in range(2, len(shape))]
        ctx.bind(node, interpolate(x, size=target, mode=name, align_corners=aligned))
        return
    for axis, matrix in matrices.items():
        if mode == "nearest" and not crops:
            x = torch.index_select(x, axis, ctx.constant(matrix.argmax(1), "nearest"))
        else:
            weights = torch.ops.aten.to(ctx.constant(matrix.T.astype(np.float32), "weights"), ctx.held(value))
            x = torch.movedim(torch.matmul(torch.movedim(x, axis, -1), weights), -1, axis)
    ctx.bind(node, _extrapolated(ctx, node, x, matrices) if crops else x)


def _native(matrices: Mapping[int, Array], mode: str, rank: int) -> tuple[str, bool | None] | None:
    """Mode and `align_corners` with which `interpolate` multiplies by these matrices, None if there are none."""
    if not matrices or not 3 <= rank <= 5 or min(matrices) < 2 or not all(m.size for m in matrices.values()):
        return None
    for name, aligned in _NATIVE.get(mode, ()):
        if all(_same(matrix, name, aligned) for matrix in matrices.values()):
            return (_LINEAR[rank - 2] if name == "linear" else name), aligned
    return None


def _same(matrix: Array, mode: str, aligned: bool | None) -> bool:
    """Whether torch's matrix of one axis is this one; float32 rounds the weights of linear ones."""
    out, length = matrix.shape
    own = interpolate(torch.eye(length)[None], size=out, mode=mode, align_corners=aligned)[0].T.numpy()
    return bool(np.allclose(own, matrix, rtol=0, atol=1e-6 if mode == "linear" else 0))


def _extrapolated(ctx: Context, node: ir.Node, x: Tensor, matrices: Mapping[int, Array]) -> Tensor:
    """`extrapolation_value` where the region reaches beyond the data: there the products are zero."""
    value, rank = get_float(node, "extrapolation_value", 0.0), ctx.rank(node.inputs[0])
    if value == 0:
        return x
    inside = np.ones((1,) * rank, bool)
    for axis, matrix in matrices.items():
        inside = inside & matrix.any(1).reshape([-1 if a == axis else 1 for a in range(rank)])
    return torch.where(ctx.constant(inside, "inside"), x, value)

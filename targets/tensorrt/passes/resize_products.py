"""Resize in a mode that TensorRT lacks is a product with its interpolation matrix, axis by axis.

    x [N,C,H,W] --> Resize(antialias) --> y    ==>    x --> MatMul([W,w]) --> MatMul([h,H] before it) --> y
    x --> Resize(nearest, not_larger) --> y    ==>    x --> Gather(axis 2) --> Gather(axis 3) --> y

    resize_as_products         antialiasing, aspect ratio policies, half_pixel_symmetric and tf_crop_and_resize
    cubic_resize_as_products   cubic, which TensorRT has since 8.5

Needs the shapes. What a crop reads outside of the data is `extrapolation_value`, set by a Where. ONNX Resize-19.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_float, get_int, get_str, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site
from edgeport.sample import Array
from edgeport.targets.interpolation import resize_matrices
from edgeport.targets.lowering import Refused

_COORDINATES = ("half_pixel_symmetric", "tf_crop_and_resize")


@register("resize_as_products")
def resize_as_products(model: ir.Model) -> bool:
    """Rewrites the nodes in modes that no TensorRT has."""
    return _rewrite(model, _is_unknown)


@register("cubic_resize_as_products")
def cubic_resize_as_products(model: ir.Model) -> bool:
    """Rewrites the cubic ones."""
    return _rewrite(model, lambda node: get_str(node, "mode", "nearest") == "cubic")


def _is_unknown(node: ir.Node) -> bool:
    policy = get_str(node, "keep_aspect_ratio_policy", "stretch")
    coordinates = get_str(node, "coordinate_transformation_mode", "half_pixel")
    return bool(get_int(node, "antialias", 0)) or policy != "stretch" or coordinates in _COORDINATES


def _rewrite(model: ir.Model, wanted: Callable[[ir.Node], bool]) -> bool:
    changed = False
    for node in nodes(model, "Resize"):
        x, shape, out = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.outputs[0])
        if x is None or x.dtype is None or shape is None or out is None or not wanted(node):
            continue
        try:
            matrices = resize_matrices(node, shape, out)
        except Refused:
            continue  # a form without agreed meaning: the parser names it
        chosen = {axis: _chosen(matrix) for axis, matrix in matrices.items()}
        if not x.dtype.is_floating_point() and any(rows is None for rows in chosen.values()):
            continue
        _write(Site(model, node), x, matrices, chosen)
        changed = True
    return changed


def _chosen(matrix: Array) -> Array | None:
    """The columns that the rows pick, None unless every row picks just one."""
    picks = ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(1) == 1).all()
    return np.argmax(matrix, 1).astype(np.int64) if picks else None


def _write(site: Site, x: ir.Value, matrices: dict[int, Array], chosen: dict[int, Array | None]) -> None:
    node, shape = site.node, static_shape(site.node.outputs[0]) or ()
    assert x.dtype is not None
    value = x
    for axis, matrix in sorted(matrices.items(), key=lambda item: item[1].shape[0] / item[1].shape[1]):
        rows = chosen[axis]
        if rows is None:
            value = _product(site, value, matrix.astype(x.dtype.numpy()), axis, len(shape))
        else:
            value = site.op("Gather", [value, site.constant(f"rows{axis}", rows)], f"axis{axis}", axis=axis)
    inside = np.ones((1,) * len(shape), bool)
    for axis, matrix in matrices.items():
        inside = inside & matrix.any(1).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    outside = get_float(node, "extrapolation_value", 0.0)
    if inside.all() or outside == 0:
        take_over(node.outputs[0], "Identity", [value])
        return
    fill = site.constant("outside", np.asarray(outside, x.dtype.numpy()))
    take_over(node.outputs[0], "Where", [site.constant("inside", inside), value, fill])


def _product(site: Site, value: ir.Value, matrix: Array, axis: int, dims: int) -> ir.Value:
    """The matrix [out, in] applied to one axis."""
    if axis == dims - 2:
        return site.op("MatMul", [site.constant(f"matrix{axis}", matrix), value], f"axis{axis}")
    columns = site.constant(f"matrix{axis}", np.ascontiguousarray(matrix.T))
    if axis == dims - 1:
        return site.op("MatMul", [value, columns], f"axis{axis}")
    swapped = [a if a not in (axis, dims - 1) else axis + dims - 1 - a for a in range(dims)]
    last = site.op("Transpose", [value], f"axis{axis}/last", perm=swapped)
    made = site.op("MatMul", [last, columns], f"axis{axis}/made")
    return site.op("Transpose", [made], f"axis{axis}", perm=swapped)

"""RoiAlign is a Gather of the pixels around all samples and a product with their shares, or a GridSample.

    x [N,C,H,W] --> Transpose --> Reshape [N*H*W, C] --> Gather(places) --> Reshape [bins, samples, C] --+
    shares [bins, 1, samples] -----------------------------------------------------------------------> MatMul
        --> Reshape [regions, h, w, C] --> Transpose --> y

So it is for constant regions. Mode max (of the weighted pixels, as ONNX has it) is Mul and GlobalMaxPool instead.
Regions that the model computes are read by GridSample (`roi_points`), where their number is known and a bin has as
many samples in all of them. Runs before the conversion to the canonical opset, whose RoiAlign ONNX Runtime has no
kernel for; writes operators that are the same in all opsets that have them. ONNX operator RoiAlign-16.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_float, get_int, get_str, input_of, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.roi_points import pooled_samples
from edgeport.passes.roi_samples import Bins, roi_samples
from edgeport.passes.site import Site

_LARGEST = 1 << 22
"""Pixels that are fetched at once at most; their places and shares are constants of the file."""
_GRID_SAMPLE_SINCE = 16
_HALF_PIXEL_SINCE = 16
"""The opset that brought the attribute; before, coordinates were those of pixel corners."""


@register("expand_roi_align")
def expand_roi_align(model: ir.Model) -> bool:
    """Expands every RoiAlign of float32 whose images have a known size."""
    changed = False
    for node in nodes(model, "RoiAlign"):
        x, shape = node.inputs[0], static_shape(node.inputs[0])
        bins = None if shape is None else _bins(model, node, shape)
        if x is None or shape is None or bins is None or x.dtype != ir.DataType.FLOAT:
            continue
        changed |= _expand(Site(model, node), x, shape, bins)
    return changed


def _expand(site: Site, x: ir.Value, shape: tuple[int, ...], bins: Bins) -> bool:
    node, scale = site.node, get_float(site.node, "spatial_scale", 1.0)
    rois, images = constant(input_of(node, 1)), constant(input_of(node, 2))
    if rois is None or images is None:
        count = static_shape(node.inputs[1])
        if count is None or bins.ratio < 1 or site.model.opset_imports.get("", 0) < _GRID_SAMPLE_SINCE:
            return False
        result = pooled_samples(site, x, shape, count[0], scale, bins)
        take_over(node.outputs[0], "Identity", [result])
        return True
    if not len(rois) or images.min() < 0 or images.max() >= shape[0]:
        return False
    places, shares = roi_samples(rois.astype(np.float32) * np.float32(scale), images.astype(np.int64), bins)
    if places.size > _LARGEST:
        return False
    result = _read(site, x, shape, places, shares.astype(np.float32), bins)
    take_over(node.outputs[0], "Transpose", [result], {"perm": [0, 3, 1, 2]})
    return True


def _bins(model: ir.Model, node: ir.Node, shape: tuple[int, ...]) -> Bins | None:
    late = model.opset_imports.get("", _HALF_PIXEL_SINCE) >= _HALF_PIXEL_SINCE
    coordinates = get_str(node, "coordinate_transformation_mode", "half_pixel" if late else "output_half_pixel")
    mode = get_str(node, "mode", "avg")
    if mode not in ("avg", "max") or coordinates not in ("half_pixel", "output_half_pixel") or len(shape) != 4:
        return None
    out = (get_int(node, "output_height", 1), get_int(node, "output_width", 1))
    ratio = get_int(node, "sampling_ratio", 0)
    return Bins((shape[2], shape[3]), out, ratio, coordinates == "half_pixel", mode == "max")


def _read(
    site: Site, x: ir.Value, shape: tuple[int, ...], places: np.ndarray, shares: np.ndarray, bins: Bins
) -> ir.Value:
    """[regions, height, width, C]."""
    channels, (count, samples) = shape[1], places.shape
    moved = site.op("Transpose", [x], "moved", perm=[0, 2, 3, 1])
    pixels = site.reshape(moved, [shape[0] * shape[2] * shape[3], channels], "pixels")
    found = site.op("Gather", [pixels, site.constant("places", places.reshape(-1))], "found", axis=0)
    corners = site.reshape(found, [count, samples, channels], "corners")
    if bins.largest:
        weighted = site.op("Mul", [corners, site.constant("shares", shares[..., None])], "weighted")
        result = site.op("GlobalMaxPool", [site.op("Transpose", [weighted], "turned", perm=[0, 2, 1])], "largest")
    else:
        result = site.op("MatMul", [site.constant("shares", shares[:, None]), corners], "sums")
    return site.reshape(result, [count // (bins.out[0] * bins.out[1]), *bins.out, channels], "bins")

"""RoiAlign of regions that the model computes, as GridSample at all samples and a pool over those of a bin.

    rois [R,4] --> points [R,h*s], [R,w*s] --> grid --> GridSample(x, border) --> Mul(inside) --> AveragePool(s) --> y

A sample beyond the image by more than a pixel counts as 0, any other is moved inside, which is GridSample's padding
mode border. In mode max the largest of a sample's four weighted pixels counts, as ONNX has it: one GridSample of mode
nearest each. The samples of a bin must be as many for all regions. ONNX operators RoiAlign-16, GridSample-16.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.roi_samples import Bins
from edgeport.passes.site import Site


@dataclass(frozen=True)
class _Points:
    """Samples along one axis, all [R, samples]: where, and 1 for those that count."""

    at: ir.Value
    inside: ir.Value
    size: int


def pooled_samples(site: Site, x: ir.Value, shape: tuple[int, ...], regions: int, scale: float, bins: Bins) -> ir.Value:
    """The result of a RoiAlign [R, C, h, w].

    Args:
        site: the node; its inputs 1 and 2 are the regions and their images.
        x: images [N, C, H, W].
        shape: of x.
        regions: R.
        scale: spatial_scale.
        bins: how to sample; `ratio` is at least 1.
    """
    rois, images = site.node.inputs[1], site.node.inputs[2]
    down, right = (_points(site, rois, axis, scale, bins) for axis in (1, 0))
    rows, columns = (n * bins.ratio for n in bins.out)
    alone = shape[0] == 1  # all regions are rows of one result, and no image is copied
    view = [1, 1, regions * rows, columns] if alone else [regions, 1, rows, columns]
    image = x if alone else site.op("Gather", [x, images], "images", axis=0)
    size = (regions, rows, columns)

    def sampled(y: ir.Value, x: ir.Value, role: str, **mode: str) -> ir.Value:
        grid = _grid(site, y, x, (down.size, right.size), size, role)
        grid = site.reshape(grid, [view[0], *view[2:], 2], f"{role}_view")
        return site.op("GridSample", [image, grid], role, align_corners=1, padding_mode="border", **mode)

    def share(y: ir.Value, x: ir.Value, role: str) -> ir.Value:
        return site.reshape(_outer(site, y, x, size, role), view, f"{role}_view")

    facts = {"kernel_shape": [bins.ratio] * 2, "strides": [bins.ratio] * 2}
    inside = share(down.inside, right.inside, "inside")
    if not bins.largest:
        found = site.op("Mul", [sampled(down.at, right.at, "samples"), inside], "counted")
        pooled = site.op("AveragePool", [found], "pooled", **facts)
    else:
        corners = []
        for number, ((y, part_y), (x_, part_x)) in enumerate(
            itertools.product(_neighbours(site, down, "down"), _neighbours(site, right, "right"))
        ):
            pixel = sampled(y, x_, f"pixel{number}", mode="nearest")
            corners.append(site.op("Mul", [pixel, share(part_y, part_x, f"share{number}")], f"corner{number}"))
        found = site.op("Mul", [site.op("Max", corners, "largest"), inside], "counted")
        pooled = site.op("MaxPool", [found], "pooled", **facts)
    if not alone:
        return pooled
    apart = site.reshape(pooled, [shape[1], regions, *bins.out], "apart")
    return site.op("Transpose", [apart], "bins", perm=[1, 0, 2, 3])


def _points(site: Site, rois: ir.Value | None, axis: int, scale: float, bins: Bins) -> _Points:
    role, size, out = "xy"[axis], bins.size[1 - axis], bins.out[1 - axis]

    def number(value: float, name: str) -> ir.Value:
        return site.constant(f"{role}/{name}", np.asarray(value, np.float32))

    ends = []
    for end in (axis, axis + 2):
        column = site.op("Gather", [rois, site.constant(f"{role}/column", np.asarray([end]))], f"{role}{end}", axis=1)
        ends.append(site.op("Mul", [column, number(scale, "scale")], f"{role}{end}_scaled"))
    length = site.op("Sub", [ends[1], ends[0]], f"{role}_length")
    if not bins.half_pixel:
        length = site.op("Max", [length, number(1, "least")], f"{role}_length_least")
    count = out * bins.ratio
    shares = site.constant(f"{role}/shares", ((np.arange(count, dtype=np.float32) + 0.5) / count)[None])
    start = ends[0]
    if bins.half_pixel:
        start = site.op("Sub", [start, number(0.5, "half")], f"{role}_start")
    at = site.op("Add", [start, site.op("Mul", [length, shares], f"{role}_along")], f"{role}_at")
    near = [
        site.op("GreaterOrEqual", [at, number(-1, "before")], f"{role}_begun"),
        site.op("LessOrEqual", [at, number(size, "behind")], f"{role}_unended"),
    ]
    both = site.op("And", near, f"{role}_near")
    inside = site.op("Cast", [both], f"{role}_inside", to=int(ir.DataType.FLOAT))
    moved = site.op("Clip", [at, number(0, "first"), number(size - 1, "last")], f"{role}_moved")
    return _Points(moved, inside, size)


def _neighbours(site: Site, points: _Points, role: str) -> list[tuple[ir.Value, ir.Value]]:
    """Both whole places around each sample and their shares."""
    low = site.op("Floor", [points.at], f"{role}_low")
    one = site.constant(f"{role}/one", np.float32(1))
    part = site.op("Sub", [points.at, low], f"{role}_part")
    high = site.op("Add", [low, one], f"{role}_high")  # beyond the last pixel its share is 0
    return [(low, site.op("Sub", [one, part], f"{role}_rest")), (high, part)]


def _grid(
    site: Site, y: ir.Value, x: ir.Value, sizes: tuple[int, int], shape: tuple[int, int, int], role: str
) -> ir.Value:
    """[R, rows, columns, 2] between -1 and 1, x before y."""
    parts = []
    for name, value, size in (("x", x, sizes[1]), ("y", y, sizes[0])):
        factor = site.constant(f"{role}/{name}_factor", np.float32(2 / max(size - 1, 1)))
        scaled = site.op("Mul", [value, factor], f"{role}_{name}_scaled")
        parts.append(site.op("Sub", [scaled, site.constant(f"{role}/one", np.float32(1))], f"{role}_{name}"))
    rows, columns = shape[1:]
    wide = site.reshape(parts[0], [shape[0], 1, columns, 1], f"{role}_wide")
    tall = site.reshape(parts[1], [shape[0], rows, 1, 1], f"{role}_tall")
    target = site.constant(f"{role}/shape", np.asarray([*shape, 1], np.int64))
    spread = [site.op("Expand", [v, target], f"{role}_{n}") for v, n in ((wide, "columns"), (tall, "rows"))]
    return site.op("Concat", spread, f"{role}_grid", axis=-1)


def _outer(site: Site, y: ir.Value, x: ir.Value, shape: tuple[int, int, int], role: str) -> ir.Value:
    """[R, rows, columns]: every row's number times every column's."""
    tall = site.reshape(y, [shape[0], shape[1], 1], f"{role}_tall_share")
    wide = site.reshape(x, [shape[0], 1, shape[2]], f"{role}_wide_share")
    return site.op("Mul", [tall, wide], role)

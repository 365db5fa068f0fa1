"""DeformConv is GridSample at the moved taps, then a Conv over the taps.

    offset --> Reshape, Split --> x', y' as grid --+
    x ------------------------------------------> GridSample --> [N, C, taps, places] --> Mul(mask) --+
                                            W [M, C/g, taps, 1] ------------------------------------> Conv --> Reshape

The taps stand along the height and all places along the width, so the Conv over [taps, 1] is a product and nothing is
moved for it. Applies to two spatial axes, constant weights and known shapes. ONNX operator DeformConv-22; Zhu et al.,
"Deformable ConvNets v2", 2019, eq. 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, constant, get_int, get_ints, input_of, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_deform_conv")
def expand_deform_conv(model: ir.Model) -> bool:
    """Expands every two-dimensional DeformConv of float32."""
    changed = False
    for node in nodes(model, "DeformConv"):
        x, weight, out = node.inputs[0], constant(node.inputs[1]), static_shape(node.outputs[0])
        size = static_shape(x)
        if x is None or weight is None or weight.ndim != 4 or size is None or out is None:
            continue
        if x.dtype != ir.DataType.FLOAT:
            continue
        taps = _Taps(size, out, weight.shape[2:], get_int(node, "offset_group", 1))
        _expand(Site(model, node), x, weight, taps)
        changed = True
    return changed


@dataclass(frozen=True)
class _Taps:
    """Shapes: input and output [N, C, H, W], kernel [h, w], number of groups of offsets."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    groups: int

    @property
    def count(self) -> int:
        """Taps of the kernel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def places(self) -> int:
        """Positions of the window."""
        return self.out[2] * self.out[3]


def _expand(site: Site, x: ir.Value, weight: Array, taps: _Taps) -> None:
    node, batch, channels = site.node, taps.size[0], taps.size[1]
    images, each = batch * taps.groups, channels // taps.groups
    offset = node.inputs[2]
    assert offset is not None, "DeformConv has an offset"
    moved = site.reshape(offset, [images, taps.count, 2, taps.places], "offsets")
    halves = site.several("Split", [moved], ["down", "right"], axis=2, num_outputs=2)
    columns = []
    for axis in (1, 0):  # GridSample wants x before y
        scale, base = _normalized(node, taps, axis)
        flat = site.reshape(halves[axis], [images, taps.count, taps.places, 1], f"offset{axis}")
        scaled = site.op("Mul", [flat, site.constant(f"scale{axis}", np.float32(scale))], f"scaled{axis}")
        columns.append(site.op("Add", [scaled, site.constant(f"base{axis}", base)], f"coordinate{axis}"))
    grid = site.op("Concat", columns, "grid", axis=-1)
    split = x if taps.groups == 1 else site.reshape(x, [images, each, *taps.size[2:]], "groups")
    found = site.op("GridSample", [split, grid], "sampled", mode="linear", padding_mode="zeros", align_corners=0)
    mask = input_of(node, 4)
    if mask is not None:
        shares = site.reshape(mask, [images, 1, taps.count, taps.places], "mask")
        found = site.op("Mul", [found, shares], "masked")
    if taps.groups > 1:
        found = site.reshape(found, [batch, channels, taps.count, taps.places], "merged")
    kernel = site.constant("weight", weight.reshape(*weight.shape[:2], taps.count, 1))
    operands = [found, kernel, input_of(node, 3)]
    flat = site.op("Conv", operands, "product", group=get_int(node, "group", 1), kernel_shape=[taps.count, 1])
    take_over(node.outputs[0], "Reshape", [flat, site.constant("shape", np.asarray(taps.out, np.int64))])


def _normalized(node: ir.Node, taps: _Taps, axis: int) -> tuple[float, Array]:
    """Offset along an axis -> coordinate of GridSample (align_corners 0): a factor and a base [1, taps, places, 1]."""
    stride = (get_ints(node, "strides") or [1, 1])[axis]
    dilation = (get_ints(node, "dilations") or [1, 1])[axis]
    pad = (get_ints(node, "pads") or [0, 0, 0, 0])[axis]
    size = taps.size[2 + axis]
    start = np.arange(taps.out[2 + axis]) * stride - pad
    step = np.arange(taps.kernel[axis]) * dilation
    places = start[:, None].repeat(taps.out[3], 1) if axis == 0 else start[None].repeat(taps.out[2], 0)
    steps = step[:, None].repeat(taps.kernel[1], 1) if axis == 0 else step[None].repeat(taps.kernel[0], 0)
    at = steps.reshape(-1, 1) + places.reshape(1, -1)
    return 2 / size, ((2 * at + 1) / size - 1).astype(np.float32)[None, :, :, None]

"""CenterCropPad is a Slice and a Pad.

    x [20,8,3] --> CenterCropPad([10,10,3]) --> y    ==>    x --> Slice([5:15]) --> Pad([0,1,0,0,1,0]) --> y

Applies where the shape is constant and the input's dimensions are known. An odd element is cropped or padded at the
end. ONNX operator CenterCropPad-18.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import bypass, get_ints, ints, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_center_crop_pad")
def expand_center_crop_pad(model: ir.Model) -> bool:
    """Expands every CenterCropPad of known shapes."""
    changed = False
    for node in nodes(model, "CenterCropPad"):
        x, target = node.inputs[0], ints(node.inputs[1])
        shape = static_shape(x)
        if x is None or target is None or shape is None:
            continue
        axes = [a % len(shape) for a in get_ints(node, "axes") or range(len(shape))]
        changed |= _expand(Site(model, node), x, [(a, t - shape[a]) for a, t in zip(axes, target, strict=True)])
    return changed


def _expand(site: Site, x: ir.Value, growth: list[tuple[int, int]]) -> bool:
    """`growth`: axes and how many elements each gains (loses where negative)."""
    y = site.node.outputs[0]
    crops = [(axis, -g // 2, -g - -g // 2) for axis, g in growth if g < 0]
    pads = [(axis, g // 2, g - g // 2) for axis, g in growth if g > 0]
    if not crops and not pads:
        if not bypass(y, x):
            take_over(y, "Identity", [x])
        return True
    if crops:
        axes, starts, ends = (np.asarray(column, np.int64) for column in zip(*crops, strict=True))
        shape = static_shape(x)
        assert shape is not None, "checked by the caller"
        stops = np.asarray([shape[a] for a in axes]) - ends
        where = [site.constant(role, data) for role, data in (("starts", starts), ("ends", stops), ("axes", axes))]
        if not pads:
            take_over(y, "Slice", [x, *where])
            return True
        x = site.op("Slice", [x, *where], "cropped")
    columns = [np.asarray(column, np.int64) for column in zip(*pads, strict=True)]
    amounts = site.constant("pads", np.concatenate(columns[1:]))
    take_over(y, "Pad", [x, amounts, None, site.constant("padded_axes", columns[0])])
    return True

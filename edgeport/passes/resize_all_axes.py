"""A Resize of some axes says so of all: scale 1, or the size that the axis has.

    x [N,C,H,W] --> Resize(axes = [2, 3]; scales [2, 2]) --> y    ==>    x --> Resize(scales [1, 1, 2, 2]) --> y

For runtimes older than opset 18. Needs constant scales, or sizes and a known shape; regions of tf_crop_and_resize too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, constant, get_ints, get_str, input_of, nodes, rank, static_shape
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("resize_all_axes")
def resize_all_axes(model: ir.Model) -> bool:
    """Rewrites every Resize with axes."""
    changed = False
    for node in nodes(model, "Resize"):
        changed |= "axes" in node.attributes and resized_over_all_axes(Site(model, node))
    return changed


def resized_over_all_axes(site: Site) -> bool:
    """Rewrites one Resize with axes; False where its sizes are not known, or keep an aspect ratio."""
    node = site.node
    given_axes, dims, shape = get_ints(node, "axes"), rank(node.inputs[0]), static_shape(node.inputs[0])
    policy = get_str(node, "keep_aspect_ratio_policy", "stretch")
    if given_axes is None or dims is None or policy != "stretch":
        return False
    axes = [axis % dims for axis in given_axes]
    whole: dict[int, Array] = {}
    for index, rest in ((2, np.ones(dims)), (3, shape)):
        given = constant(input_of(node, index))
        if given is not None and given.size and rest is not None:
            whole[index] = np.asarray(rest, given.dtype)
            whole[index][axes] = given
    roi = constant(input_of(node, 1))
    if roi is not None and roi.size:
        halves = np.stack([np.zeros(dims), np.ones(dims)]).astype(roi.dtype)
        halves[:, axes] = roi.reshape(2, -1)
        whole[1] = halves.reshape(-1)
    if not whole.keys() & {2, 3}:
        return False
    for index, array in whole.items():
        node.replace_input_with(index, site.constant(("", "roi", "scales", "sizes")[index], array))
    del node.attributes["axes"]
    return True

"""GroupNormalization is written with InstanceNormalization, as PyTorch does: for runtimes older than opset 18 and 21.

    x [B,C,..] --> Reshape [B,G,-1] --> InstanceNormalization(1, 0) --> Reshape [B,C,..] --> Mul(g [C,1,1]) --> Add(b)

The second Reshape goes to the shape of x where it is known, and to a computed one where it is not. Left alone: tensors
of unknown rank. Wu & He 2018, arXiv 1803.08494, equation 7.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, get_float, get_int, nodes, rank, reshape_target, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_group_norm")
def expand_group_norm(model: ir.Model) -> bool:
    """Expands every GroupNormalization of known rank."""
    changed = False
    for node in nodes(model, "GroupNormalization"):
        x, dims = node.inputs[0], rank(node.inputs[0])
        if x is None or dims is None:
            continue
        site, groups = Site(model, node), get_int(node, "num_groups", 1)
        dtype = np.dtype(np.float32) if x.dtype is None else x.dtype.numpy()
        split = site.reshape(x, (0, groups, -1), "groups")
        ones, zeros = site.constant("ones", np.ones(groups, dtype)), site.constant("zeros", np.zeros(groups, dtype))
        epsilon = get_float(node, "epsilon", 1e-5)
        normal = site.op("InstanceNormalization", [split, ones, zeros], "normal", epsilon=epsilon)
        known = reshape_target(x)
        target = site.op("Shape", [x], "shape") if known is None else site.constant("shape", known)
        joined = site.op("Reshape", [normal, target], "joined")
        scaled = site.op("Mul", [joined, _by_channel(site, 1, dims, "scale")], "scaled")
        take_over(node.outputs[0], "Add", [scaled, _by_channel(site, 2, dims, "bias")])
        changed = True
    return changed


def _by_channel(site: Site, index: int, dims: int, role: str) -> ir.Value:
    """A parameter [C] as [C,1,..], which broadcasts over what follows the channels."""
    value = site.node.inputs[index]
    assert value is not None, "GroupNormalization has a scale and a bias"
    shape = (-1, *(1,) * (dims - 2))
    array = constant(value)
    return site.reshape(value, shape, role) if array is None else site.constant(role, array.reshape(shape))

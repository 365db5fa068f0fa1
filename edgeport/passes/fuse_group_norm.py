"""GroupNormalization written with InstanceNormalization becomes one operator.

    x [B,C,..] --> Reshape [B,G,-1] --> InstanceNormalization --> Reshape [B,C,..] --> Mul(g [C,1,1]) --> Add(b [C,1,1])

        ==>    x --> GroupNormalization(g, b; num_groups = G)

That is how PyTorch exports torch.nn.GroupNorm. Applies when nothing in between has another reader, the second Reshape
restores the shape of x, and the scale and bias of InstanceNormalization are constants. Mul and Add by constants over
the channels are taken in; without them the scale is one. Wu & He 2018, arXiv 1803.08494, equation 7.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, add_initializer, constant, get_float, nodes, producer, take_over, used_once
from edgeport.passes.registry import register
from edgeport.passes.scale_and_bias import following_constant


@register("fuse_group_norm")
def fuse_group_norm(model: ir.Model) -> bool:
    """Fuses every group normalization of that form."""
    changed = False
    for node in nodes(model, "InstanceNormalization"):
        changed |= _fuse(model, node)
    return changed


def _fuse(model: ir.Model, node: ir.Node) -> bool:
    inner, scale, bias = node.inputs[0], constant(node.inputs[1]), constant(node.inputs[2])
    split = producer(inner, "Reshape")
    if inner is None or split is None or scale is None or bias is None or not used_once(inner):
        return False
    x, y = split.inputs[0], _joined(node)
    channels = _same_but_grouped(x, inner, y)
    if x is None or y is None or x.shape is None or not channels or not scale.size or channels % scale.size:
        return False
    groups, per_channel = scale.size, (channels, *(1,) * (len(x.shape) - 2))
    gain, shift = (np.repeat(v.astype(np.float64), channels // groups) for v in (scale, bias))
    times = following_constant(y, "Mul", per_channel)
    if times is not None:
        y, factor = times[0].outputs[0], _flat(times[1])
        gain, shift = gain * factor, shift * factor
    plus = following_constant(y, "Add", per_channel)
    if plus is not None:
        y, shift = plus[0].outputs[0], shift + _flat(plus[1])
    inputs = [x]
    for role, array in (("scale", gain), ("bias", shift)):
        inputs.append(add_initializer(model, f"{y.name}/{role}", array.astype(scale.dtype)))
    epsilon = get_float(node, "epsilon", 1e-5)
    take_over(y, "GroupNormalization", inputs, {"num_groups": groups, "epsilon": epsilon})
    return True


def _flat(array: Array) -> Array:
    return array.reshape(-1).astype(np.float64)


def _joined(node: ir.Node) -> ir.Value | None:
    """Output of the Reshape that alone reads the normalized groups."""
    value = node.outputs[0]
    if not used_once(value):
        return None
    user = value.consumers()[0]
    reshapes = user.domain == "" and user.op_type == "Reshape" and user.inputs[0] is value and user.graph is node.graph
    return user.outputs[0] if reshapes else None


def _same_but_grouped(x: ir.Value | None, inner: ir.Value, y: ir.Value | None) -> int:
    """The channels of x, if y has its shape and the inner value differs in how it splits what follows the batch."""
    if x is None or y is None or x.shape is None or y.shape is None or inner.shape is None:
        return 0
    if len(x.shape) < 3 or list(x.shape) != list(y.shape) or x.shape[0] != inner.shape[0] or x.shape[0] is None:
        return 0
    channels = x.shape[1]
    return channels if isinstance(channels, int) else 0

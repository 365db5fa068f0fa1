"""Operators that move integers unchanged: the torch view's lowerings, on a quantized tensor."""

from __future__ import annotations

from torch import Tensor

from edgeport.quantize.groups import KernelGroup
from edgeport.targets.qnnpack.context import Context
from edgeport.targets.qnnpack.registry import KERNELS, Integers
from edgeport.torch_view.registry import LOWERINGS

_MOVES = (
    "DepthToSpace",
    "Flatten",
    "Identity",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


def moved(ctx: Context, group: KernelGroup) -> Tensor:
    """The first output; the others are given here."""
    node = group.anchor
    x = node.inputs[0]
    assert x is not None
    real = ctx.view.values.get(x)
    ctx.view.values[x] = ctx.quantized(x)
    try:
        LOWERINGS[node.op_type].handler(ctx.view, node)
    finally:
        if real is not None:
            ctx.view.values[x] = real
    made = [ctx.view.values[value] for value in node.outputs]
    for value, tensor in zip(node.outputs[1:], made[1:], strict=True):
        ctx.give(value, tensor)
    return made[0]


for _op in _MOVES:
    KERNELS[_op] = Integers(moved, LOWERINGS[_op].attributes, LOWERINGS[_op].inputs)

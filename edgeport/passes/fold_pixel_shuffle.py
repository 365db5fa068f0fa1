"""Pixel shuffle in depth-major order, the one that runtimes with channels last have a kernel for.

    x --> Conv(W, b) --> DepthToSpace(CRD) --> y    ==>    x --> Conv(W', b') --> DepthToSpace(DCR) --> y

CRD takes channel c * r * r + i to place i of the r x r block of channel c, DCR takes channel i * C + c there. W' and b'
are W and b with their output channels in the second order, so the result is the same to the last bit. Element-wise
functions of one tensor may stand in between. Applies when the convolution is not grouped, its weights are constant and
nothing else reads its output.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, get_int, get_str, input_of, nodes, producer, used_once
from edgeport.passes.registry import register

_ELEMENTWISE = ("Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Swish", "Tanh")


@register("fold_pixel_shuffle")
def fold_pixel_shuffle(model: ir.Model) -> bool:
    """Changes every DepthToSpace of mode CRD behind a convolution."""
    changed = False
    for node in nodes(model, "DepthToSpace"):
        if get_str(node, "mode", "DCR") != "CRD":
            continue
        conv = _convolution(node)
        weight = None if conv is None else constant(conv.inputs[1])
        if conv is None or weight is None:
            continue
        bias = input_of(conv, 2)
        shift = constant(bias)
        if bias is not None and shift is None:
            continue
        block = get_int(node, "blocksize", 1) ** 2
        order = np.arange(len(weight)).reshape(-1, block).T.reshape(-1)
        for index, array in ((1, weight), (2, shift)):
            if array is not None:
                old = conv.inputs[index]
                assert old is not None
                conv.replace_input_with(index, add_initializer(model, f"{old.name}_depth_major", array[order]))
        node.attributes["mode"] = ir.AttrString("mode", "DCR")
        changed = True
    return changed


def _convolution(node: ir.Node) -> ir.Node | None:
    """The ungrouped convolution that only this node reads, element-wise functions in between aside."""
    value = node.inputs[0]
    while value is not None and used_once(value):
        before = producer(value, "Conv", *_ELEMENTWISE)
        if before is None:
            return None
        if before.op_type == "Conv":
            return before if get_int(before, "group", 1) == 1 else None
        value = before.inputs[0]
    return None

"""Padding by a constant moves into the convolution or pooling behind it.

    x --> Pad(0) --> Conv(pads p) --> y              ==>    x --> Conv(pads p + pad) --> y
    x --> Pad(0) --> AveragePool --> y               ==>    x --> AveragePool(pads, count_include_pad=1) --> y
    x --> Pad(-inf) --> MaxPool --> y                ==>    x --> MaxPool(pads) --> y
    x --> Relu --> Pad(0) --> MaxPool --> y          ==>    x --> Relu --> MaxPool(pads) --> y

Applies when the Pad is constant, by non-negative constant amounts, of spatial dimensions only, and is read by nothing
else; the operator behind it must not pad by auto_pad=SAME. AveragePool: only without ceil_mode, and if it pads already
it must count its padding. MaxPool pads with minus infinity, so a finite value is exact only where every input is at
least as large: zero behind Relu, Sigmoid or a Clip from zero up. Pools also need no dilation and less padding than the
kernel on every side, so that no window lies in the padding alone.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgeport.passes.clip_limits import clip_limits
from edgeport.passes.edit import (
    bypass,
    get_int,
    get_ints,
    get_str,
    input_of,
    ints,
    nodes,
    producer,
    rank,
    scalar,
    used_once,
)
from edgeport.passes.registry import register


@register("fuse_pad")
def fuse_pad(model: ir.Model) -> bool:
    """Fuses every Pad whose effect is the same."""
    changed = False
    for node in nodes(model, "Pad"):
        x, y = node.inputs[0], node.outputs[0]
        amounts = _spatial_pads(node)
        if x is None or amounts is None or not used_once(y):
            continue
        user = y.consumers()[0]
        if user.domain != "" or user.graph is not node.graph or user.inputs[0] is not y:
            continue
        if get_str(user, "auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            continue
        existing = get_ints(user, "pads") or [0] * len(amounts)
        total = [a + b for a, b in zip(amounts, existing, strict=True)]
        if _exact(node, user, existing, total):
            if "auto_pad" in user.attributes:
                del user.attributes["auto_pad"]
            if user.op_type == "AveragePool":
                user.attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
            user.attributes["pads"] = ir.AttrInt64s("pads", total)
            bypass(y, x)
            changed = True
    return changed


def _spatial_pads(node: ir.Node) -> list[int] | None:
    """Begin and end amounts of the dimensions from 2 on, if the others are not padded and none is negative."""
    dims, pads = rank(node.inputs[0]), ints(node.inputs[1])
    if get_str(node, "mode", "constant") != "constant" or dims is None or dims < 3 or pads is None or min(pads) < 0:
        return None
    axes = list(range(dims)) if input_of(node, 3) is None else ints(input_of(node, 3))
    if axes is None or len(pads) != 2 * len(axes):
        return None
    begin, end = [0] * dims, [0] * dims
    for i, axis in enumerate(axes):
        begin[axis % dims], end[axis % dims] = pads[i], pads[len(axes) + i]
    return None if any(begin[:2] + end[:2]) else begin[2:] + end[2:]


def _exact(pad: ir.Node, user: ir.Node, existing: list[int], total: list[int]) -> bool:
    value = 0.0 if input_of(pad, 2) is None else scalar(input_of(pad, 2))
    if user.op_type == "Conv":
        return value == 0
    if user.op_type not in ("AveragePool", "MaxPool") or get_int(user, "ceil_mode", 0) or len(user.outputs) > 1:
        return False
    kernel = get_ints(user, "kernel_shape") or []
    if any(p >= k for p, k in zip(total, kernel * 2, strict=True)) or any(
        d != 1 for d in get_ints(user, "dilations") or []
    ):
        return False
    if user.op_type == "AveragePool":
        counts = get_int(user, "count_include_pad", 0)
        return value == 0 and bool(counts or not any(existing))
    return value == -math.inf or (value == 0 and _not_negative(pad.inputs[0]))


def _not_negative(value: ir.Value | None) -> bool:
    if producer(value, "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp") is not None:
        return True
    clip = producer(value, "Clip")
    low = None if clip is None else clip_limits(clip)[0]
    return low is not None and low >= 0

"""Pools without dilations and without ceil_mode: TensorRT knows no pool with the first, and rounds the second its way.

    MaxPool(ceil_mode)       ==>    MaxPool(pads as far as the windows reach)
    MaxPool(dilations)       ==>    Pad(lowest) --> Slice for each tap --> Max, one axis after the other
    AveragePool(dilations)   ==>    Conv(ones, a group a channel) --> Mul(1 / taps on the data)

An average that counts pads, and whose last window reaches beyond them, becomes a Conv as well. Needs the shapes. Left
alone: a MaxPool whose indices are read. ONNX operators AveragePool-22 and MaxPool-22.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, get_str, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site, is_read
from edgeport.targets.lowering import Refused
from edgeport.targets.window import Window, declared_after, window


@register("plain_pools")
def plain_pools(model: ir.Model) -> bool:
    """Rewrites every such pool."""
    changed = False
    for node in nodes(model, "MaxPool", "AveragePool"):
        x, size, out = node.inputs[0], static_shape(node.inputs[0]), static_shape(node.outputs[0])
        kernel = get_ints(node, "kernel_shape")
        if x is None or size is None or out is None or kernel is None or is_read(node, 1):
            continue
        try:
            win = window(node, size[2:], out[2:], kernel)
        except Refused:
            continue
        site = Site(model, node)
        if any(d != 1 for d in win.dilations) or (get_int(node, "ceil_mode", 0) and not _explicit(node, win)):
            changed |= _largest(site, x, win) if node.op_type == "MaxPool" else _average(site, x, win, size[1])
        elif get_str(node, "auto_pad", "NOTSET") == "NOTSET":
            changed |= bool(node.attributes.pop("ceil_mode", None))
    return changed


def _explicit(node: ir.Node, win: Window) -> bool:
    """Pads that the windows reach, so that nothing has to be rounded up; False where other elements would count."""
    after = tuple(max(a, 0) for a in win.after)
    counted = node.op_type == "AveragePool" and get_int(node, "count_include_pad", 0)
    if counted and any(a > b for a, b in zip(after, declared_after(node, win), strict=True)):
        return False
    if any(pad >= k for pad, k in zip(after, win.kernel, strict=True)):
        return False
    node.attributes.pop("auto_pad", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", [*win.before, *after])
    return True


def _largest(site: Site, x: ir.Value, win: Window) -> bool:
    """The largest of shifted slices, one axis after the other."""
    if x.dtype is None or not x.dtype.is_floating_point():
        return False
    n = len(win.size)
    after = tuple(max(a, 0) for a in win.after)
    value = x
    if any((*win.before, *after)):
        pads = site.constant("pads", np.asarray([0, 0, *win.before, 0, 0, *after], np.int64))
        lowest = site.constant("lowest", np.asarray(np.finfo(x.dtype.numpy()).min, x.dtype.numpy()))
        value = site.op("Pad", [x, pads, lowest], "padded", mode="constant")
    for i in range(n):
        parts: list[ir.Value | None] = []
        for tap in range(win.kernel[i]):
            start, role = tap * win.dilations[i], f"axis{i}/tap{tap}"
            bounds = (start, start + (win.out[i] - 1) * win.strides[i] + 1, 2 + i, win.strides[i])
            names = ("start", "end", "axis", "step")
            slots = [
                site.constant(f"{role}/{k}", np.asarray([b], np.int64)) for k, b in zip(names, bounds, strict=True)
            ]
            parts.append(site.op("Slice", [value, *slots], role))
        if i < n - 1:
            value = site.op("Max", parts, f"axis{i}")
    take_over(site.node.outputs[0], "Max", parts)
    return True


def _average(site: Site, x: ir.Value, win: Window, channels: int) -> bool:
    node = site.node
    after = tuple(max(a, 0) for a in win.after)
    beyond = declared_after(node, win) if get_int(node, "count_include_pad", 0) else None
    counts = win.counted(beyond)
    if x.dtype is None or not counts.all():
        return False
    dtype = x.dtype.numpy()
    same = bool((counts == counts.flat[0]).all())
    ones = np.full((channels, 1, *win.kernel), 1 / counts.flat[0] if same else 1, dtype)
    attributes = {"kernel_shape": win.kernel, "pads": (*win.before, *after), "strides": win.strides}
    attributes |= {"dilations": win.dilations}
    inputs = [x, site.constant("ones", ones)]
    if same:
        take_over(node.outputs[0], "Conv", inputs, {**attributes, "group": channels})
        return True
    total = site.op("Conv", inputs, "sum", group=channels, **attributes)
    take_over(node.outputs[0], "Mul", [total, site.constant("shares", (1 / counts).astype(dtype)[None, None])])
    return True

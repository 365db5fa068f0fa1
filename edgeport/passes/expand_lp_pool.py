"""LpPool and GlobalLpPool are averages of powers.

    x --> LpPool(p) --> y    ==>    x --> Abs --> Pow(p) --> AveragePool(pads counted) --> Mul(taps) --> Pow(1/p) --> y

For p = 2 the power is a product and the root a Sqrt, for p = 1 both are left out. Pads are written out (a window that
ceil_mode lets reach beyond them would count fewer taps), so the shapes have to be known where auto_pad or ceil_mode is
set. GlobalLpPool becomes ReduceL1 or ReduceL2 over the spatial axes for p = 1 and 2. ONNX operators LpPool-22,
GlobalLpPool-22.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Attribute, get_int, get_ints, get_str, nodes, rank, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_lp_pool")
def expand_lp_pool(model: ir.Model) -> bool:
    """Expands every LpPool and GlobalLpPool of float32."""
    changed = False
    for node in nodes(model, "LpPool", "GlobalLpPool"):
        if node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.FLOAT:
            site = Site(model, node)
            changed |= _pool(site) if node.op_type == "LpPool" else _global(site)
    return changed


def _pool(site: Site) -> bool:
    node, x = site.node, site.node.inputs[0]
    kernel, p = get_ints(node, "kernel_shape"), get_int(node, "p", 2)
    if x is None or kernel is None or p < 1:
        return False
    pads = _pads(node, kernel)
    if pads is None:
        return False
    attributes: dict[str, Attribute] = {"kernel_shape": kernel, "pads": pads, "count_include_pad": 1}
    for name in ("strides", "dilations"):
        given = get_ints(node, name)
        if given is not None:
            attributes[name] = given
    mean = site.op("AveragePool", [_power(site, x, p)], "mean", **attributes)
    taps = site.constant("taps", np.float32(math.prod(kernel)))
    _root(site, site.op("Mul", [mean, taps], "sum") if p > 1 else mean, taps, p)
    return True


def _global(site: Site) -> bool:
    x, p = site.node.inputs[0], get_int(site.node, "p", 2)
    axes = rank(x)
    if x is None or axes is None or p < 1:
        return False
    spatial = site.constant("axes", np.arange(2, axes))
    if p in (1, 2):
        take_over(site.node.outputs[0], f"ReduceL{p}", [x, spatial], {"keepdims": 1})
    else:
        _root(site, site.op("ReduceSum", [_power(site, x, p), spatial], "sum", keepdims=1), None, p)
    return True


def _power(site: Site, x: ir.Value, p: int) -> ir.Value:
    if p == 2:
        return site.op("Mul", [x, x], "power")
    magnitude = site.op("Abs", [x], "magnitude")
    return magnitude if p == 1 else site.op("Pow", [magnitude, site.constant("p", np.float32(p))], "power")


def _root(site: Site, total: ir.Value, taps: ir.Value | None, p: int) -> None:
    y = site.node.outputs[0]
    if p == 1:
        assert taps is not None, "the mean of p = 1 is not multiplied yet"
        take_over(y, "Mul", [total, taps])
    elif p == 2:
        take_over(y, "Sqrt", [total])
    else:
        take_over(y, "Pow", [total, site.constant("root", np.float32(1 / p))])


def _pads(node: ir.Node, kernel: Sequence[int]) -> list[int] | None:
    """Explicit pads that the windows reach exactly; None where the shapes are not known."""
    n = len(kernel)
    pads = get_ints(node, "pads") or [0] * 2 * n
    mode = get_str(node, "auto_pad", "NOTSET")
    if mode == "VALID":
        pads = [0] * 2 * n
    if mode in ("NOTSET", "VALID") and not get_int(node, "ceil_mode", 0):
        return pads
    size, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    strides, dilations = get_ints(node, "strides") or [1] * n, get_ints(node, "dilations") or [1] * n
    if size is None or out is None or (mode.startswith("SAME") and set(dilations) != {1}):
        return None  # of dilated windows the specification and ONNX Runtime disagree on the size
    reach = [(out[2 + i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(n)]
    before = pads[:n]
    room = [size[2 + i] + pads[i] + pads[n + i] for i in range(n)]
    if mode.startswith("SAME"):
        totals = [r - d for r, d in zip(reach, size[2:], strict=True)]
        if min(totals) < 0:
            return None  # windows with gaps between them, for which ONNX Runtime's pads are negative
        before = [t // 2 if mode == "SAME_UPPER" else (t + 1) // 2 for t in totals]
    elif any((kernel[i] - 1) * dilations[i] + 1 > room[i] for i in range(n)):
        return None  # a window that does not fit
    return [*before, *(max(reach[i] - size[2 + i] - before[i], 0) for i in range(n))]

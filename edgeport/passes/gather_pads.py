"""A Pad that repeats what is there gathers it, axis by axis.

    x --> Pad(reflect, pads of two axes) --> y    ==>    x --> Gather(axis 2; 2 1 0 1 2 ..) --> Gather(axis 3; ..) --> y

    gather_wrapped_pads   mode wrap, which is new in opset 19
    gather_pads           modes edge, reflect and wrap

Needs constant pads and the lengths of the padded axes. ONNX operator Pad-19.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_str, input_of, ints, nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("gather_wrapped_pads")
def gather_wrapped_pads(model: ir.Model) -> bool:
    """Rewrites pads with the other end."""
    return _rewrite(model, ("wrap",))


@register("gather_pads")
def gather_pads(model: ir.Model) -> bool:
    """Rewrites all pads with what is there."""
    return _rewrite(model, ("edge", "reflect", "wrap"))


def _rewrite(model: ir.Model, modes: Sequence[str]) -> bool:
    changed = False
    for node in nodes(model, "Pad"):
        mode, pads, shape = get_str(node, "mode", "constant"), ints(node.inputs[1]), static_shape(node.inputs[0])
        axes = ints(input_of(node, 3))
        if mode not in modes or pads is None or shape is None or (axes is None and input_of(node, 3) is not None):
            continue
        axes = list(range(len(shape))) if axes is None else [axis % len(shape) for axis in axes]
        site, value = Site(model, node), node.inputs[0]
        for axis, low, high in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
            if low or high:
                places = _places(shape[axis], low, high, mode)
                value = site.op("Gather", [value, site.constant(f"places{axis}", places)], f"axis{axis}", axis=axis)
        take_over(node.outputs[0], "Identity", [value])
        changed = True
    return changed


def _places(size: int, low: int, high: int, mode: str) -> np.ndarray:
    """int64 [low + size + high]: which element stands where."""
    at = np.arange(-low, size + high)
    if mode == "edge":
        return np.clip(at, 0, size - 1)
    if mode == "wrap":
        return at % size
    period = max(2 * (size - 1), 1)
    folded = at % period
    return np.minimum(folded, period - folded)

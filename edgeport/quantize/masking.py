"""Where masked scores are integers: how low they need to reach.

    scores [-9, 12] --> Add --> [-21, 12] --> Softmax
    mask [-1e4, 0] ------^  [-33, 0]

A range down to -1e4 would leave all scores in one step. The mask saturates where it still pushes the highest score
12 under the lowest, and the sum 12 under the lowest: exp(-12) of a row is below what 8-bit probabilities show, however
many keys are masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.saturation import Interval

_MARGIN = 12.0
_PASSING = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Split", "Expand")


def mask_ranges(groups: Iterable[KernelGroup], interval: Callable[[ir.Value], Interval]) -> dict[str, Interval]:
    """Ranges of masks and masked scores that replace those of their statistics, by tensor name.

    Args:
        groups: kernels that run in integers, in execution order.
        interval: the range of an activation or a constant by itself.
    """
    sums: dict[str, Interval] = {}
    masks: dict[str, Interval] = {}

    for group in groups:
        node, y = group.anchor, group.output
        if node.op_type not in ("Add", "Where") or not _only_softmax_reads(y):
            continue
        a, b = (v for v in node.inputs[-2:] if v is not None)
        ranges = [sums.get(v.name or "") or interval(v) for v in (a, b)]
        scores, mask = (0, 1) if ranges[0][0] >= ranges[1][0] else (1, 0)
        (low, high), (bottom, top) = ranges[scores], ranges[mask]
        if node.op_type == "Where":  # one of the two, not their sum; all three have one range
            if bottom < low - _MARGIN and (a, b)[mask].const_value is not None:
                sums[y.name or ""] = (low - _MARGIN, high)
        elif bottom + high < low - _MARGIN:
            sums[y.name or ""] = (low + top - _MARGIN, high + top)
            name = (a, b)[mask].name or ""  # layers share their mask
            masks[name] = (min(top - (high - low) - _MARGIN, masks.get(name, (0.0, 0.0))[0]), top)
    return sums | masks


def _only_softmax_reads(value: ir.Value) -> bool:
    if value.is_graph_output() or not value.uses():
        return False
    for use in value.uses():
        node = use.node
        if node.op_type == "Softmax":
            continue
        if node.op_type not in ("Add", "Where", *_PASSING) or not all(map(_only_softmax_reads, node.outputs)):
            return False
    return True

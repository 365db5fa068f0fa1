"""Masks that float16 and the Neural Engine's softmax can hold.

    scores --> Add(0 or -inf) --> Softmax                ==>    scores --> Add(0 or -4e4) --> Softmax
    scores --> Where(allowed, scores, -3.4e38) --> ...   ==>    scores --> Where(allowed, scores, -4e4) --> ...
    (1 - allowed) --> Mul(-3.4e38) --> Add(scores) ...   ==>    (1 - allowed) --> Mul(-4e4) --> Add(scores) ...

exp(-4e4) is 0 in every float type, so weights stay what they were wherever a row has something left to choose from.
The Neural Engine's softmax mishandles minus infinity (Apple's rules for models on it), and a product with -3.4e38
would have to run in float32, outside of it. Where several masks are added they share the 4e4, so that their sum stays
finite. Only constants are changed whose every reader is a mask of a Softmax or of an Attention; for Attention minus
infinity stays, as it may leave a query without any key.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, add_initializer, constant, nodes
from edgeport.passes.pipeline import rewritten
from edgeport.quantize.plan import Plan
from edgeport.targets.attention import FORBIDDEN

FLOOR = 4e4
_SINKS = ("Softmax", "LogSoftmax")
_CHANGED = "/finite"
_MASK_INPUT = 3
"""Of Attention."""
_VIEWS = ("Reshape", "Expand", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Identity", "Tile", "Gather", "Cast")
_MASKING = {"Add": (0, 1), "Where": (1, 2), "Mul": (0, 1), "Sub": (1,)}
"""Operator -> its inputs that may be the constant of a mask."""


def with_finite_masks(model: ir.Model, plan: Plan) -> ir.Model:
    """A copy of the graph with such masks, or the graph itself if it has none to change.

    Values that are another number now have another name, so that nobody compares them with the source's, unless the
    plan knows them by theirs.
    """
    if not _masks(model):
        return model
    result = rewritten(model, ())
    found = _masks(result)
    shares = [sum(sink in other.sinks for other in found) for mask in found for sink in mask.sinks]
    for mask in found:
        data = constant(mask.node.inputs[mask.index])
        assert data is not None
        floor = np.float32(FLOOR / max(shares))
        value = add_initializer(result, f"{mask.node.name}/mask", np.clip(data, -floor, floor))
        mask.node.replace_input_with(mask.index, value)
        _rename(mask.node, mask.sinks, plan)
    return result


def _rename(node: ir.Node, sinks: frozenset[ir.Node], plan: Plan) -> None:
    """Renames what a node makes and what is made of it up to the sinks."""
    value = node.outputs[0]
    if node in sinks or (value.name or "").endswith(_CHANGED):
        return
    if plan.qparams(value.name) is None:
        value.name = f"{value.name}{_CHANGED}"
    for use in value.uses():
        _rename(use.node, sinks, plan)


@dataclass(frozen=True)
class _Mask:
    """A constant of a mask: an input of a node, and the Softmaxes that it leads to."""

    node: ir.Node
    index: int
    sinks: frozenset[ir.Node] = field(default_factory=frozenset)


def _masks(model: ir.Model) -> list[_Mask]:
    known: dict[ir.Value, frozenset[ir.Node] | None] = {}
    found = []
    for node in nodes(model, *_MASKING):
        for index in _MASKING[node.op_type]:
            data = constant(node.inputs[index])
            if data is None or data.dtype != np.float32 or not _forbids(data, node.op_type):
                continue
            sinks = _leads_to(node.outputs[0], known)
            forbidden = any(sink.op_type == "Attention" for sink in sinks or ()) and np.abs(data).max() > -FORBIDDEN
            if sinks and not forbidden:
                found.append(_Mask(node, index, sinks))
    return found


def _forbids(data: Array, op_type: str) -> bool:
    """Whether a constant is one of a mask: it holds numbers beyond the floor, which are no scores."""
    if op_type in ("Mul", "Sub"):
        return data.size == 1 and bool(np.abs(data).max() > FLOOR)
    return data.size > 0 and bool(data.min() < -FLOOR) and bool(data.max() <= FLOOR)


def _leads_to(value: ir.Value, known: dict[ir.Value, frozenset[ir.Node] | None]) -> frozenset[ir.Node] | None:
    """The Softmaxes that a value leads to by sums, choices and views; None if it leads elsewhere as well."""
    if value not in known:
        known[value] = None
        reached: set[ir.Node] = set()
        for node, index in value.uses():
            sinks = _through(node, index, known)
            if sinks is None:
                return None
            reached |= sinks
        known[value] = None if value.is_graph_output() or not reached else frozenset(reached)
    return known[value]


def _through(node: ir.Node, index: int, known: dict[ir.Value, frozenset[ir.Node] | None]) -> frozenset[ir.Node] | None:
    if node.domain != "" or node.graph is None:
        return None
    if node.op_type in _SINKS:
        return frozenset([node])
    if node.op_type == "Attention":
        return frozenset([node]) if index == _MASK_INPUT else None
    passes_on = node.op_type in ("Add", "Sub") or (node.op_type == "Where" and index > 0)
    if node.op_type in _VIEWS:
        passes_on = index == 0 and node.outputs[0].dtype == ir.DataType.FLOAT
    return _leads_to(node.outputs[0], known) if passes_on else None

"""Reductions and operators that move elements: what their older forms said in attributes or not at all."""

from __future__ import annotations

import math

import numpy as np

from edgeport.passes.edit import get_int, get_str, rank, take_over
from edgeport.passes.pad_all_axes import over_all_axes
from edgeport.passes.resize_all_axes import resized_over_all_axes
from edgeport.targets.lowering import Refused
from edgeport.targets.opset.registry import Descent, int64, since

REDUCTIONS = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
)


@since(18, *REDUCTIONS)
def _axes_as_attribute(at: Descent) -> None:
    """Axes were an attribute; nothing said that no axes are none instead of all."""
    axes, given = at.array(1), at.input(1)
    if given is not None and axes is None:
        raise Refused("its axes are computed by the model", "give constant axes")
    none = axes is None or not axes.size
    if none and get_int(at.node, "noop_with_empty_axes", 0):
        _without_axes(at)
        return
    at.drop("noop_with_empty_axes")
    at.node.resize_inputs(1)
    if axes is not None and axes.size:
        at.set(axes=[int(axis) for axis in axes.reshape(-1)])


def _without_axes(at: Descent) -> None:
    """A reduction over no axes still takes the absolute value, the square or the logarithm."""
    y, x = at.node.outputs[0], at.node.inputs[0]
    kind = at.node.op_type
    if kind in ("ReduceL1", "ReduceL2"):
        take_over(y, "Abs", [x])
    elif kind == "ReduceSumSquare":
        take_over(y, "Mul", [x, x])
    elif kind == "ReduceLogSum":
        take_over(y, "Log", [x])
    else:
        take_over(y, "Identity", [x])


@since(18, "Split")
def _split_sizes(at: Descent) -> None:
    """Without sizes the parts had to be equal."""
    node = at.node
    count = get_int(node, "num_outputs", len(node.outputs))
    at.drop("num_outputs")
    if at.input(1) is not None:
        return
    x = node.inputs[0]
    axis, dims = get_int(node, "axis", 0), rank(x)
    size = None if x is None or x.shape is None or dims is None else x.shape[axis % dims]
    if not isinstance(size, int):
        raise Refused("it splits an axis of unknown size", "give the sizes of the parts, or fix the input's shape")
    if size % count:
        part = math.ceil(size / count)
        at.set_input(1, at.constant("split", int64([part] * (count - 1) + [size - part * (count - 1)])))


@since(18, "Pad")
def _pads_of_all_axes(at: Descent) -> None:
    """Pads were given for every axis."""
    if at.input(3) is not None and not over_all_axes(at):
        raise Refused("its axes or pads are computed by the model", "give constant pads")


@since(18, "Resize")
def _scales_of_all_axes(at: Descent) -> None:
    """Scales and sizes were given for every axis."""
    if "axes" in at.node.attributes and not resized_over_all_axes(at):
        raise Refused("its scales or sizes are computed by the model", "give constant sizes")


@since(15, "Shape")
def _part_of_a_shape(at: Descent) -> None:
    """The whole shape was all there was; a Slice takes the part."""
    node = at.node
    start, end = get_int(node, "start", 0), node.attributes.get("end")
    at.drop("start", "end")
    if start == 0 and end is None:
        return
    limit = np.iinfo(np.int64).max if end is None else end.as_int()
    shape = at.op("Shape", [node.inputs[0]], "shape")
    bounds = [at.constant(role, int64([value])) for role, value in (("start", start), ("end", limit))]
    take_over(node.outputs[0], "Slice", [shape, *bounds])


@since(14, "Reshape")
def _zeros_copy(at: Descent) -> None:
    """A 0 in the target always meant the dimension of the input."""
    if not get_int(at.node, "allowzero", 0):
        at.drop("allowzero")
        return
    target = at.array(1)
    if target is None or not target.all():
        raise Refused("it makes an empty tensor (allowzero)", "remove what works on tensors without elements")
    at.drop("allowzero")


@since(18, "ScatterElements", "ScatterND")
def _extremes(at: Descent) -> None:
    """Updates could be added or multiplied, not compared."""
    if get_str(at.node, "reduction", "none") in ("max", "min"):
        raise Refused("it keeps the larger or smaller of its updates", "scatter once and compare afterwards")


@since(16, "ScatterElements", "ScatterND")
def _no_reduction(at: Descent) -> None:
    """Updates replaced what was there."""
    if get_str(at.node, "reduction", "none") != "none":
        raise Refused("it combines its updates (reduction)", "scatter without a reduction")

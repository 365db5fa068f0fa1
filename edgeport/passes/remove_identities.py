"""Nodes that give back their input disappear.

    x --> Identity | Dropout | Cast(same type) | Reshape(same shape) --> Op      ==>      x --> Op

Applies to
- Identity; Dropout whose mask is not read and whose training_mode is absent or constant false;
- Cast to the type the input already has; CastLike becomes Cast once the type is known;
- Reshape, Flatten, Expand, Squeeze, Unsqueeze and Tile when the static shapes before and after are equal;
- Transpose with the identity permutation; Slice that takes everything (constant, by static shape);
- Pad by zero; Concat, Sum, Min, Max, Mean of one input; Split into one part;
- Add and Sub of constant 0, Mul, Div and Pow by constant 1, where the shape does not grow (x - 0, x / 1 only this way);
- And with constant true, Or and Xor with constant false: nothing, or an Expand where the constant is larger;
- AveragePool and MaxPool with kernel 1, stride 1 and no padding; Resize whose constant scales are all 1.

A graph output keeps its name: x takes it. From graph input or constant to graph output the node stays.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    bypass,
    constant,
    get_int,
    get_ints,
    input_of,
    ints,
    nodes,
    rank,
    scalar,
    static_shape,
    take_over,
)
from edgeport.passes.registry import register

_LOGIC = ("And", "Or", "Xor")
_SHAPE_OPS = ("Reshape", "Flatten", "Expand", "Squeeze", "Unsqueeze", "Tile")


@register("remove_identities")
def remove_identities(model: ir.Model) -> bool:
    """Removes nodes that give back their input."""
    changed = False
    for node in nodes(model):
        if node.op_type == "CastLike":
            changed |= _cast_like(node)
            continue
        if node.op_type in _LOGIC:
            changed |= _neutral_condition(model, node)
            continue
        source = _same_as(node)
        if source is not None and not any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
            changed |= bypass(node.outputs[0], source)
    return changed


def _neutral_condition(model: ir.Model, node: ir.Node) -> bool:
    """Removes a logical operator whose constant decides nothing."""
    y = node.outputs[0]
    for kept, other in (node.inputs, reversed(node.inputs)):
        array, shape = constant(other), static_shape(y)
        if kept is None or array is None or not array.size or not np.all(array == (node.op_type == "And")):
            continue
        if shape is not None and static_shape(kept) == shape:
            return bypass(y, kept)
        if shape is not None and 0 not in shape and static_shape(kept) is not None:
            target = add_initializer(model, f"{y.name}_shape", np.asarray(shape, np.int64))
            take_over(y, "Expand", [kept, target])
            return True
    return False


def _cast_like(node: ir.Node) -> bool:
    like = node.inputs[1]
    if like is None or like.dtype is None:
        return False
    kept = {"saturate": get_int(node, "saturate", 1)} if "saturate" in node.attributes else {}
    take_over(node.outputs[0], "Cast", [node.inputs[0]], {"to": like.dtype.value, **kept})
    return True


def _same_as(node: ir.Node) -> ir.Value | None:
    """The input that the first output equals element by element, in shape and in type."""
    x = input_of(node, 0)
    if x is None:
        return None
    match node.op_type:
        case "Identity":
            same = True
        case "Dropout":
            training = input_of(node, 2)
            same = training is None or scalar(training) == 0
        case "Cast":
            same = x.dtype is not None and x.dtype.value == get_int(node, "to", 0)
        case op if op in _SHAPE_OPS:
            dims = static_shape(x)
            same = dims is not None and dims == static_shape(node.outputs[0])
        case "Transpose":
            order = get_ints(node, "perm")
            same = order == sorted(order) if order is not None else rank(x) in (0, 1)
        case "Slice":
            same = _slices_all(node)
        case "Pad":
            pads = ints(node.inputs[1])
            same = pads is not None and not any(pads)
        case "Concat" | "Sum" | "Min" | "Max" | "Mean":
            same = len(node.inputs) == 1
        case "Split":
            same = len(node.outputs) == 1
        case "Add" | "Sub" | "Mul" | "Div" | "Pow":
            return _neutral_operand(node)
        case "AveragePool" | "MaxPool":
            same = _unit_window(node)
        case "Resize":
            scales = constant(input_of(node, 2))
            same = scales is not None and scales.size > 0 and bool(np.all(scales == 1)) and input_of(node, 1) is None
        case _:
            same = False
    return x if same else None


def _neutral_operand(node: ir.Node) -> ir.Value | None:
    a, b = node.inputs[0], node.inputs[1]
    neutral = 0.0 if node.op_type in ("Add", "Sub") else 1.0
    pairs = [(a, b)] if node.op_type in ("Sub", "Div", "Pow") else [(a, b), (b, a)]
    for kept, other in pairs:
        array = constant(other)
        if array is None or kept is None or not np.all(array == neutral) or array.size == 0:
            continue
        if kept.dtype is None or kept.dtype != node.outputs[0].dtype:
            continue
        dims = static_shape(kept)
        same_shape = dims is not None and dims == static_shape(node.outputs[0])
        one_element = array.size == 1 and array.ndim <= (rank(kept) or 0)
        if same_shape or one_element:
            return kept
    return None


def _slices_all(node: ir.Node) -> bool:
    starts, ends = ints(node.inputs[1]), ints(node.inputs[2])
    x = node.inputs[0]
    if starts is None or ends is None or x is None or x.shape is None:
        return False
    axes = ints(input_of(node, 3)) if input_of(node, 3) is not None else list(range(len(starts)))
    steps = ints(input_of(node, 4)) if input_of(node, 4) is not None else [1] * len(starts)
    if axes is None or steps is None:
        return False
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        dim = x.shape[axis]
        everything = end >= 2**31 - 1 or (isinstance(dim, int) and end >= dim)
        if start != 0 or step != 1 or not everything:
            return False
    return True


def _unit_window(node: ir.Node) -> bool:
    kernel = get_ints(node, "kernel_shape") or []
    strides, pads = get_ints(node, "strides") or [], get_ints(node, "pads") or []
    return all(k == 1 for k in kernel) and all(s == 1 for s in strides) and not any(pads) and bool(kernel)

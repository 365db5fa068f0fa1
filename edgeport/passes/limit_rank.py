"""What has more than 5 axes is computed on views with fewer, for targets whose tensors have no more.

    x [2,4,2,3,5,7] --> Transpose [0,3,4,1,5,2] --> y    ==>    x --> Reshape [2,8,3,35] --> ... --> Reshape --> y
    a [2,3,4,5,6,7] --> Add(b [5,1,1]) --> y             ==>    a --> Reshape [24,5,42] --> Add(b [1,5,1]) --> Reshape

Axes along which an operator does the same are one axis to it; a Transpose that still has too many, and a Slice along
several axes, become several. Reshapes that follow each other are then one. Values that are inputs or outputs of the
graph keep their axes, and operators that are not listed here stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    get_int,
    get_ints,
    input_of,
    ints,
    nodes,
    producer,
    static_shape,
    take_over,
)
from edgeport.passes.fewer_axes import MOST_AXES, FewerAxes, around
from edgeport.passes.fewer_axes_arranging import concat, expand, gather, pad, slice_, split, spread, tile
from edgeport.passes.merged_axes import Groups, grouped, merged, transpositions
from edgeport.passes.registry import register

_ELEMENT_WISE = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Cast", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Div", "Elu", "Equal", "Erf", "Exp",
    "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
    "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or",
    "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
    "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where", "Xor",
})  # fmt: skip
_REDUCTIONS = frozenset({
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
_ALONG = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1, "ArgMax": 0, "ArgMin": 0}
"""Operators along one axis, with their default; what they give has the same axes, or 1 in place of that one."""


@register("limit_rank")
def limit_rank(model: ir.Model) -> bool:
    """Rewrites every listed operator with a value of more than 5 axes, then skips the views between."""
    changed = False
    for node in nodes(model):
        values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
        shapes = [static_shape(value) for value in values]
        if node.graph is not model.graph or any(shape is None for shape in shapes):
            continue
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None and max((len(shape) for shape in shapes if shape is not None), default=0) > MOST_AXES:
            changed |= rewrite(FewerAxes(model, node))
    return _without_views(model) or changed


def _view(at: FewerAxes) -> bool:
    """Squeeze, Unsqueeze and Flatten become Reshape, which `_without_views` knows."""
    if at.node.op_type == "Reshape" and ints(input_of(at.node, 1)) == list(at.shape(at.node.outputs[0])):
        return False
    at.finish(0, at.operand(0))
    return True


def _element_wise(at: FewerAxes) -> bool:
    """Axes along which each operand has all elements, or one, together."""
    values = [v for v in at.node.inputs if v is not None]
    shape = at.shape(at.node.outputs[0])
    padded = {v: (*(1,) * (len(shape) - len(at.shape(v))), *at.shape(v)) for v in values}
    groups = grouped(shape, [tuple(own[axis] == 1 for own in padded.values()) for axis in range(len(shape))])
    if len(groups) > MOST_AXES:
        whole = [v if v is None or at.shape(v) == () else spread(at, v, shape) for v in at.node.inputs]
        at.finish(0, at.again(whole))
        return True
    few = [
        None if v is None else v if at.shape(v) == () else at.seen(v, merged(padded[v], groups)) for v in at.node.inputs
    ]
    at.finish(0, at.again(few))
    return True


def _transpose(at: FewerAxes) -> bool:
    x = at.operand(0)
    shape = at.shape(x)
    value = x
    for seen, order in transpositions(shape, get_ints(at.node, "perm") or list(range(len(shape)))[::-1], MOST_AXES):
        value = at.site.op("Transpose", [at.seen(value, seen)], "moved", perm=order)
    at.finish(0, value)
    return True


def _reduce(at: FewerAxes) -> bool:
    x = at.operand(0)
    shape, axes = at.shape(x), ints(input_of(at.node, 1))
    if input_of(at.node, 1) is not None and axes is None:
        return False
    if not axes and get_int(at.node, "noop_with_empty_axes", 0):
        return False
    reduced = {axis % len(shape) for axis in axes or range(len(shape))}
    groups = grouped(shape, [axis in reduced for axis in range(len(shape))])
    if len(groups) > MOST_AXES:
        return _reduce_in_turn(at, groups, reduced)
    over = [i for i, group in enumerate(groups) if any(axis in reduced for axis in group)]
    few = at.seen(x, merged(shape, groups))
    at.finish(0, at.again([few, at.site.constant("axes", np.asarray(over, np.int64))], keepdims=1))
    return True


def _reduce_in_turn(at: FewerAxes, groups: Groups, reduced: set[int]) -> bool:
    """One group of axes after the other, where that gives the same."""
    if at.node.op_type not in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"):
        return False
    value, sizes = at.operand(0), merged(at.shape(at.operand(0)), groups)
    for i, group in enumerate(groups):
        if any(axis in reduced for axis in group):
            few = at.seen(value, merged(sizes, around(sizes, i)))
            value = at.again([few, at.site.constant("axes", np.asarray([int(i > 0)], np.int64))], keepdims=1)
            sizes[i] = 1
    at.finish(0, value)
    return True


def _along(at: FewerAxes) -> bool:
    """Three axes: what stands before, the axis, what stands behind."""
    x = at.operand(0)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", _ALONG[at.node.op_type]) % len(shape)
    few, changed = at.seen(x, merged(shape, around(shape, axis))), {"axis": int(axis > 0)}
    if at.node.op_type in ("ArgMax", "ArgMin"):
        changed["keepdims"] = 1
    at.finish(0, at.again([few], **changed))
    return True


def _cum_sum(at: FewerAxes) -> bool:
    x, axes = at.operand(0), ints(input_of(at.node, 1))
    if axes is None or len(axes) != 1:
        return False
    shape = at.shape(x)
    axis = axes[0] % len(shape)
    few = at.seen(x, merged(shape, around(shape, axis)))
    at.finish(0, at.again([few, at.site.constant("axis", np.asarray(int(axis > 0)))]))
    return True


def _matmul(at: FewerAxes) -> bool:
    """Batch axes as for element-wise operators; beside a matrix all but the last are one."""
    a, b, shape = at.operand(0), at.operand(1), at.shape(at.node.outputs[0])
    if min(len(at.shape(a)), len(at.shape(b))) < 2:
        return False
    if len(at.shape(b)) == 2:
        rows = at.seen(a, [math.prod(shape[:-1]), at.shape(b)[0]])
        at.finish(0, at.again([rows, b]))
        return True
    rank = len(shape)
    padded = [(*(1,) * (rank - len(at.shape(v))), *at.shape(v)) for v in (a, b)]
    groups = grouped(shape[:-2], [tuple(own[axis] == 1 for own in padded) for axis in range(rank - 2)])
    if len(groups) > MOST_AXES - 2:
        return False
    at.finish(
        0,
        at.again([at.seen(v, [*merged(own[:-2], groups), *own[-2:]]) for v, own in zip((a, b), padded, strict=True)]),
    )
    return True


def _normalization(at: FewerAxes) -> bool:
    """The axes before those that are normalized as one, and these as one."""
    if any(out.uses() or out.is_graph_output() for out in at.node.outputs[1:]):
        return False
    x = at.operand(0)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", -1) % len(shape)
    if axis == 0 or any(v is not None and at.shape(v) != shape[axis:] for v in at.node.inputs[1:]):
        return False
    groups = [list(range(axis)), list(range(axis, len(shape)))]
    factors = [None if v is None else at.seen(v, [math.prod(shape[axis:])]) for v in at.node.inputs[1:]]
    at.finish(0, at.again([at.seen(x, merged(shape, groups)), *factors], axis=-1))
    return True


_REWRITES: dict[str, Callable[[FewerAxes], bool]] = {
    **dict.fromkeys(_ELEMENT_WISE, _element_wise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_ALONG, _along),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), _view),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalization),
    "Transpose": _transpose,
    "CumSum": _cum_sum,
    "Concat": concat,
    "Split": split,
    "Gather": gather,
    "Slice": slice_,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "MatMul": _matmul,
}


def _without_views(model: ir.Model) -> bool:
    """Reshapes of a view with too many axes read what it is a view of."""
    changed = False
    for node in nodes(model, "Reshape"):
        first, y = producer(node.inputs[0], "Reshape"), node.outputs[0]
        target = static_shape(y) or tuple(ints(input_of(node, 1)) or ())
        if first is None or any(size < 1 for size in target) or len(static_shape(first.outputs[0]) or ()) <= MOST_AXES:
            continue
        shape = add_initializer(model, f"{y.name}/shape", np.asarray(target, np.int64))
        take_over(y, "Reshape", [first.inputs[0], shape])
        changed = True
    return changed

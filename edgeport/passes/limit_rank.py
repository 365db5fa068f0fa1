"""What has more than 5 axes is computed on views with fewer, for targets whose tensors have no more.

    x [2,4,2,3,5,7] --> Transpose [0,3,4,1,5,2] --> y    ==>    x --> Reshape [2,8,3,35] --> ... --> Reshape --> y
    a [2,3,4,5,6,7] --> Add(b [5,1,1]) --> y             ==>    a --> Reshape [24,5,42] --> Add(b [1,5,1]) --> Reshape

Axes along which an operator does the same are one axis to it; a Transpose that still has too many, and a Slice along
several axes, become several. Reshapes that follow each other are then one. Values that are inputs or outputs of the
graph keep their axes, and operators that are not listed here stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_int,
    get_ints,
    input_of,
    ints,
    nodes,
    producer,
    static_shape,
    take_over,
)
from edgeport.passes.merged_axes import Groups, grouped, merged, transpositions
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_MOST = 5
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
        if rewrite is not None and max((len(shape) for shape in shapes if shape is not None), default=0) > _MOST:
            changed |= rewrite(_At(model, node))
    return _without_views(model) or changed


@dataclass(frozen=True)
class _At:
    """A node to be rewritten."""

    model: ir.Model
    node: ir.Node

    @property
    def site(self) -> Site:
        return Site(self.model, self.node)

    def operand(self, index: int) -> ir.Value:
        value = self.node.inputs[index]
        assert value is not None
        return value

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        shape = static_shape(value)
        assert shape is not None
        return shape

    def seen(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """A view of a value; a constant is reshaped now."""
        data = constant(value)
        if data is not None:
            return self.site.constant("seen", data.reshape(shape))
        return self.site.reshape(value, shape, "seen")

    def finish(self, output: int, value: ir.Value) -> None:
        """A view of `value` takes an output's place."""
        old = self.node.outputs[output]
        shape = add_initializer(self.model, f"{old.name}/shape", np.asarray(self.shape(old), np.int64))
        take_over(old, "Reshape", [value, shape])

    def again(self, inputs: Sequence[ir.Value | None], **changed: int) -> ir.Value:
        """The same operator on other inputs; its output."""
        attributes = {**self.node.attributes, **{name: ir.AttrInt64(name, v) for name, v in changed.items()}}
        output = ir.Value(name=self.site.name("few"))
        # Its name is what a plan knows it by; the view behind it, which takes the output's place, gets another.
        new = ir.Node("", self.node.op_type, inputs, list(attributes.values()), outputs=[output], name=self.node.name)
        assert self.node.graph is not None
        self.node.graph.insert_before(self.node, new)
        return output


def _view(at: _At) -> bool:
    """Squeeze, Unsqueeze and Flatten become Reshape, which `_without_views` knows."""
    if at.node.op_type == "Reshape" and ints(input_of(at.node, 1)) == list(at.shape(at.node.outputs[0])):
        return False
    at.finish(0, at.operand(0))
    return True


def _element_wise(at: _At) -> bool:
    """Axes along which each operand has all elements, or one, together."""
    values = [v for v in at.node.inputs if v is not None]
    shape = at.shape(at.node.outputs[0])
    padded = {v: (*(1,) * (len(shape) - len(at.shape(v))), *at.shape(v)) for v in values}
    groups = grouped(shape, [tuple(own[axis] == 1 for own in padded.values()) for axis in range(len(shape))])
    if len(groups) > _MOST:
        whole = [v if v is None or at.shape(v) == () else _spread(at, v, shape) for v in at.node.inputs]
        at.finish(0, at.again(whole))
        return True
    few = [
        None if v is None else v if at.shape(v) == () else at.seen(v, merged(padded[v], groups)) for v in at.node.inputs
    ]
    at.finish(0, at.again(few))
    return True


def _transpose(at: _At) -> bool:
    x = at.operand(0)
    shape = at.shape(x)
    value = x
    for seen, order in transpositions(shape, get_ints(at.node, "perm") or list(range(len(shape)))[::-1], _MOST):
        value = at.site.op("Transpose", [at.seen(value, seen)], "moved", perm=order)
    at.finish(0, value)
    return True


def _reduce(at: _At) -> bool:
    x = at.operand(0)
    shape, axes = at.shape(x), ints(input_of(at.node, 1))
    if input_of(at.node, 1) is not None and axes is None:
        return False
    if not axes and get_int(at.node, "noop_with_empty_axes", 0):
        return False
    reduced = {axis % len(shape) for axis in axes or range(len(shape))}
    groups = grouped(shape, [axis in reduced for axis in range(len(shape))])
    if len(groups) > _MOST:
        return _reduce_in_turn(at, groups, reduced)
    over = [i for i, group in enumerate(groups) if any(axis in reduced for axis in group)]
    few = at.seen(x, merged(shape, groups))
    at.finish(0, at.again([few, at.site.constant("axes", np.asarray(over, np.int64))], keepdims=1))
    return True


def _reduce_in_turn(at: _At, groups: Groups, reduced: set[int]) -> bool:
    """One group of axes after the other, where that gives the same."""
    if at.node.op_type not in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"):
        return False
    value, sizes = at.operand(0), merged(at.shape(at.operand(0)), groups)
    for i, group in enumerate(groups):
        if any(axis in reduced for axis in group):
            few = at.seen(value, merged(sizes, _around(sizes, i)))
            value = at.again([few, at.site.constant("axes", np.asarray([int(i > 0)], np.int64))], keepdims=1)
            sizes[i] = 1
    at.finish(0, value)
    return True


def _around(shape: Sequence[int], axis: int) -> Groups:
    """What stands before an axis, it, and what stands behind it; nothing before or behind is left out."""
    parts = [list(range(axis)), [axis], list(range(axis + 1, len(shape)))]
    return [part for part in parts if part]


def _along(at: _At) -> bool:
    """Three axes: what stands before, the axis, what stands behind."""
    x = at.operand(0)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", _ALONG[at.node.op_type]) % len(shape)
    few, changed = at.seen(x, merged(shape, _around(shape, axis))), {"axis": int(axis > 0)}
    if at.node.op_type in ("ArgMax", "ArgMin"):
        changed["keepdims"] = 1
    at.finish(0, at.again([few], **changed))
    return True


def _cum_sum(at: _At) -> bool:
    x, axes = at.operand(0), ints(input_of(at.node, 1))
    if axes is None or len(axes) != 1:
        return False
    shape = at.shape(x)
    axis = axes[0] % len(shape)
    few = at.seen(x, merged(shape, _around(shape, axis)))
    at.finish(0, at.again([few, at.site.constant("axis", np.asarray(int(axis > 0)))]))
    return True


def _concat(at: _At) -> bool:
    values = [v for v in at.node.inputs if v is not None]
    axis = get_int(at.node, "axis", 0) % len(at.shape(values[0]))
    groups = _around(at.shape(values[0]), axis)
    at.finish(0, at.again([at.seen(v, merged(at.shape(v), groups)) for v in values], axis=int(axis > 0)))
    return True


def _split(at: _At) -> bool:
    x = at.operand(0)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", 0) % len(shape)
    outputs = tuple(at.node.outputs)
    sizes = at.site.constant("sizes", np.asarray([at.shape(y)[axis] for y in outputs], np.int64))
    few = at.seen(x, merged(shape, _around(shape, axis)))
    parts = at.site.several("Split", [few, sizes], [f"part{i}" for i in range(len(outputs))], axis=int(axis > 0))
    for old, part in zip(outputs, parts, strict=True):
        if old.uses() or old.is_graph_output():
            new = at.site.reshape(part, at.shape(old), f"{old.name}/whole")
            new.name, new.type, new.shape = old.name, old.type, old.shape
            old.name = None
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    assert at.node.graph is not None
    at.node.graph.remove(at.node, safe=True)
    return True


def _gather(at: _At) -> bool:
    x, indices = at.operand(0), at.operand(1)
    shape = at.shape(x)
    axis = get_int(at.node, "axis", 0) % len(shape)
    flat = at.seen(indices, [math.prod(at.shape(indices))])
    few = at.seen(x, merged(shape, _around(shape, axis)))
    at.finish(0, at.again([few, flat], axis=int(axis > 0)))
    return True


def _slice(at: _At) -> bool:
    """One Slice an axis."""
    given = [ints(input_of(at.node, index)) for index in range(1, 5)]
    if any(v is None and input_of(at.node, i) is not None for i, v in enumerate(given, 1)) or given[0] is None:
        return False
    value, shape, count = at.operand(0), list(at.shape(at.operand(0))), len(given[0])
    starts, ends, axes, steps = given[0], given[1], given[2] or list(range(count)), given[3] or [1] * count
    assert ends is not None
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis %= len(shape)
        groups = _around(shape, axis)
        limits = [at.site.constant("limit", np.asarray([v], np.int64)) for v in (start, end, int(axis > 0), step)]
        value = at.site.op("Slice", [at.seen(value, merged(shape, groups)), *limits], "cut")
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
    at.finish(0, value)
    return True


def _expand(at: _At) -> bool:
    shape = at.shape(at.node.outputs[0])
    at.finish(0, _spread(at, at.operand(0), shape))
    return True


def _spread(at: _At, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """A value broadcast to a shape, as one axis of all elements: group by group of axes, the inner ones first."""
    own = [*(1,) * (len(shape) - len(at.shape(value))), *at.shape(value)]
    groups = grouped(shape, [size == 1 for size in own])
    sizes, wanted = merged(own, groups), merged(shape, groups)
    for i in reversed(range(len(groups))):
        if sizes[i] != wanted[i]:
            seen, sizes[i] = merged(sizes, _around(sizes, i)), wanted[i]
            target = at.site.constant("wanted", np.asarray(merged(sizes, _around(sizes, i)), np.int64))
            value = at.site.op("Expand", [at.seen(value, seen), target], "spread")
    return at.seen(value, [math.prod(shape)])


def _tile(at: _At) -> bool:
    """Axes that are not repeated belong to the one before them."""
    x, counts = at.operand(0), ints(input_of(at.node, 1))
    if counts is None:
        return False
    groups: Groups = []
    for axis, count in enumerate(counts):
        if groups and count == 1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > _MOST:
        return False
    few = at.site.constant("counts", np.asarray([counts[group[0]] for group in groups], np.int64))
    at.finish(0, at.again([at.seen(x, merged(at.shape(x), groups)), few]))
    return True


def _pad(at: _At) -> bool:
    x, pads = at.operand(0), ints(input_of(at.node, 1))
    shape = at.shape(x)
    if pads is None or input_of(at.node, 3) is not None or len(pads) != 2 * len(shape):
        return False
    rank = len(shape)
    kinds: list[Hashable] = [axis if pads[axis] or pads[axis + rank] else -1 for axis in range(rank)]
    groups: Groups = []
    for axis, kind in enumerate(kinds):
        if groups and kind == -1 and kinds[groups[-1][0]] == -1:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > _MOST:
        return False
    few = [pads[group[0] + offset] for offset in (0, rank) for group in groups]
    values = [at.seen(x, merged(shape, groups)), at.site.constant("pads", np.asarray(few, np.int64))]
    at.finish(0, at.again([*values, input_of(at.node, 2)]))
    return True


def _matmul(at: _At) -> bool:
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
    if len(groups) > _MOST - 2:
        return False
    at.finish(
        0,
        at.again([at.seen(v, [*merged(own[:-2], groups), *own[-2:]]) for v, own in zip((a, b), padded, strict=True)]),
    )
    return True


def _normalization(at: _At) -> bool:
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


_REWRITES: dict[str, Callable[[_At], bool]] = {
    **dict.fromkeys(_ELEMENT_WISE, _element_wise),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(_ALONG, _along),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), _view),
    **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _normalization),
    "Transpose": _transpose,
    "CumSum": _cum_sum,
    "Concat": _concat,
    "Split": _split,
    "Gather": _gather,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "MatMul": _matmul,
}


def _without_views(model: ir.Model) -> bool:
    """Reshapes of a view with too many axes read what it is a view of."""
    changed = False
    for node in nodes(model, "Reshape"):
        first, y = producer(node.inputs[0], "Reshape"), node.outputs[0]
        target = static_shape(y) or tuple(ints(input_of(node, 1)) or ())
        if first is None or any(size < 1 for size in target) or len(static_shape(first.outputs[0]) or ()) <= _MOST:
            continue
        shape = add_initializer(model, f"{y.name}/shape", np.asarray(target, np.int64))
        take_over(y, "Reshape", [first.inputs[0], shape])
        changed = True
    return changed

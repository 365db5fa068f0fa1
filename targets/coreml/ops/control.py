"""Branches and loops that the passes could not write out: MIL's `cond` and `while_loop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import get_int, get_ints, input_of, producer
from edgeport.passes.site import is_read
from edgeport.targets.coreml import mil
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.lower import lower_node
from edgeport.targets.coreml.mil import Var
from edgeport.targets.coreml.ops.gathers import as_numbers
from edgeport.targets.coreml.registry import Refused, lowers


@lowers("If", attributes=("then_branch", "else_branch"), outputs=None)
def if_(ctx: Context, node: ir.Node) -> None:
    """`cond`, whose branches must give the same shapes."""
    branches = [node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    for value, *results in zip(node.outputs, *(branch.outputs for branch in branches), strict=True):
        if any(ctx.shape(r) != ctx.shape(value) or r.dtype != value.dtype for r in results):
            raise Refused("its branches differ in shape or type", "export the model with the branch that you need")
    condition = ctx.reshape(ctx.read(node.inputs[0]), ())
    yes, no = (lambda branch=branch: _run(ctx, node, branch, {}) for branch in branches)
    results = ctx.emit("cond", pred=condition, _true_fn=yes, _false_fn=no)
    for value, var in zip(node.outputs, _several(results), strict=True):
        ctx.bind(value, var)


@dataclass(frozen=True)
class _Rounds:
    """A loop in MIL's terms.

    Attributes:
        body: what a round computes.
        states: initial values, which the rounds hand on.
        given: from a round's number to what stands for the body's inputs besides the states.
        first: index of the first state among the body's inputs.
        skipped: how many of the body's outputs come before the states.
        most: number of rounds, a number or computed.
        condition: whether to start, None for yes; the body's first output then says whether to go on.
        axes: where each round's elements are joined, by output.
        backwards: whether they are joined from the end.
        anything: values that are computed, of any shape.
    """

    body: ir.Graph
    states: Sequence[Var]
    given: Callable[[Var], Mapping[ir.Value, Var]]
    first: int
    skipped: int
    most: Var | np.int32
    condition: Var | None
    axes: Sequence[int]
    backwards: Sequence[bool]
    anything: Sequence[Var]


@lowers("Loop", attributes=("body",), inputs=None, outputs=None)
def loop(ctx: Context, node: ir.Node) -> None:
    """`while_loop`; elements can be collected only if the number of rounds is known."""
    body = node.attributes["body"].as_graph()
    count, start = input_of(node, 0), input_of(node, 1)
    states = [ctx.read(value) for value in node.inputs[2:]]
    collected = len(body.outputs) - 1 - len(states)
    known = ctx.constant(count)
    flags = [_origin(body.outputs[0]), body.inputs[1] if start is None else start]
    certain = all(flag is body.inputs[1] or _is_true(ctx, flag) for flag in flags)
    if collected and (known is None or not certain):
        raise Refused("it collects elements and its number of rounds is not known", "export it written out")
    most = np.int32(np.iinfo(np.int32).max) if count is None else _number(ctx, count)
    flag = ctx.reshape(ctx.read(start), ()) if start is not None else ctx.stored(np.asarray(True), "go_on")

    def given(turn: Var) -> Mapping[ir.Value, Var]:
        return {body.inputs[0]: ctx.reshape(turn, ctx.shape(body.inputs[0]))}

    rounds = _Rounds(body, states, given, 2, 1, most, flag, [0] * collected, [False] * collected, states)
    _while(ctx, node, rounds)


_SCAN = ("scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions")


@lowers("Scan", attributes=("body", "num_scan_inputs", *_SCAN), inputs=None, outputs=None)
def scan(ctx: Context, node: ir.Node) -> None:
    """`while_loop` over the elements of the scanned inputs."""
    body, scanned = node.attributes["body"].as_graph(), get_int(node, "num_scan_inputs", 1)
    first = len(node.inputs) - scanned
    values = [value for value in node.inputs if value is not None]
    collected = len(body.outputs) - first
    axes, back, out_axes, out_back = (
        get_ints(node, name) or [0] * size
        for name, size in zip(_SCAN, (scanned, scanned, collected, collected), strict=True)
    )
    axes = [axis % ctx.rank(value) for axis, value in zip(axes, values[first:], strict=True)]
    steps = {ctx.shape(value)[axis] for axis, value in zip(axes, values[first:], strict=True)}
    if len(steps) != 1:
        raise Refused(f"its inputs have {sorted(steps)} elements", "export the model again")
    rounds = steps.pop()
    sources = [as_numbers(ctx, ctx.read(value)) for value in values[first:]]

    def given(turn: Var) -> Mapping[ir.Value, Var]:
        elements = {}
        for value, data, axis, backwards in zip(body.inputs[first:], sources, axes, back, strict=True):
            at = ctx.reshape(_place(ctx, turn, rounds, bool(backwards)), (1,))
            part = ctx.emit("gather", x=data, indices=at, axis=np.int32(axis))
            elements[value] = ctx.cast(ctx.reshape(part, ctx.shape(value)), ctx.mil_dtype(value))
        return elements

    states, most = [ctx.read(value) for value in values[:first]], np.int32(rounds)
    _while(ctx, node, _Rounds(body, states, given, 0, 0, most, None, out_axes, [bool(b) for b in out_back], sources))


def _origin(value: ir.Value) -> ir.Value:
    """What a value is another name of."""
    while (node := producer(value, "Identity")) is not None and node.inputs[0] is not None:
        value = node.inputs[0]
    return value


def _is_true(ctx: Context, value: ir.Value) -> bool:
    data = ctx.constant(value)
    return data is not None and bool(data.all())


def _number(ctx: Context, value: ir.Value) -> Var | np.int32:
    data = ctx.constant(value)
    if data is not None:
        return np.int32(min(int(data.item()), np.iinfo(np.int32).max))
    return ctx.reshape(ctx.read(value), ())


def _place(ctx: Context, turn: Var, rounds: int, backwards: bool) -> Var:
    return ctx.emit("sub", x=np.int32(rounds - 1), y=turn) if backwards else turn


def _while(ctx: Context, node: ir.Node, rounds: _Rounds) -> None:
    """Its variables: the round's number, the condition, the states, what is collected with the rounds first."""
    body, count = rounds.body, len(rounds.states)
    parts = body.outputs[rounds.skipped + count :]
    for value, state in zip(body.outputs[rounds.skipped :][:count], rounds.states, strict=True):
        if ctx.shape(value) != tuple(state.shape):
            raise Refused(f"its state {value.name!r} changes its shape", "export it written out")
    start = [ctx.stored(np.asarray(0, np.int32), "round")]
    start += [] if rounds.condition is None else [rounds.condition]
    states = len(start)
    start += rounds.states
    size = int(rounds.most) if isinstance(rounds.most, np.int32) else 0
    for value in parts:
        dtype = ctx.mil_dtype(value)
        start.append(_blank(ctx, rounds, (size, *ctx.shape(value)), "int32" if dtype == "bool" else dtype))

    def more(*variables: Var) -> Var:
        left = ctx.emit("less", x=variables[0], y=rounds.most)
        return left if rounds.condition is None else ctx.emit("logical_and", x=left, y=variables[1])

    def once(*variables: Var) -> tuple[Var, ...]:
        with ctx.inside({}):
            named = dict(rounds.given(variables[0]))
            named |= dict(zip(body.inputs[rounds.first :][:count], variables[states:][:count], strict=True))
            if rounds.condition is not None:
                named[body.inputs[1]] = ctx.reshape(variables[1], ctx.shape(body.inputs[1]))
            made = _run(ctx, node, body, named)
            flags = [ctx.reshape(made[0], ())] if rounds.condition is not None else []
            grown = []
            parts_made = made[rounds.skipped + count :]
            for held, part, back in zip(variables[states + count :], parts_made, rounds.backwards, strict=True):
                at = ctx.reshape(_place(ctx, variables[0], size, back), (1,))
                row = ctx.reshape(as_numbers(ctx, part), (1, *part.shape))
                grown.append(ctx.emit("scatter", data=held, indices=at, updates=row, axis=np.int32(0), mode="update"))
            following = ctx.emit("add", x=variables[0], y=np.int32(1))
            return (following, *flags, *made[rounds.skipped :][:count], *grown)

    ends = _several(ctx.emit("while_loop", _cond=more, _body=once, loop_vars=tuple(start)))[states:]
    for number, var in enumerate(ends):
        if not is_read(node, number):
            continue
        value = node.outputs[number]
        if number >= count:
            axis = rounds.axes[number - count] % ctx.rank(value)
            others = list(range(1, len(var.shape)))
            var = ctx.transpose(var, [*others[:axis], 0, *others[axis:]])
        ctx.bind(value, ctx.cast(var, ctx.mil_dtype(value)))


def _blank(ctx: Context, rounds: _Rounds, shape: Sequence[int], dtype: str) -> Var:
    """What rounds write all elements of. A number that is computed, repeated, takes no place in the file."""
    source = next((v for v in rounds.anything if v.val is None and mil.dtype_of(v) == dtype and tuple(v.shape)), None)
    if source is None:
        return ctx.stored(np.zeros(shape, dtype), "collected")
    one = ctx.emit("slice_by_size", x=source, begin=[0] * len(source.shape), size=[1] * len(source.shape))
    return ctx.emit("tile", x=ctx.reshape(one, (1,) * len(shape)), reps=np.asarray(shape, np.int32))


def _run(ctx: Context, node: ir.Node, graph: ir.Graph, given: Mapping[ir.Value, Var]) -> tuple[Var, ...]:
    """Emits a graph of a node in the block that is being built; its outputs, in the dtypes of that node."""
    width = ctx.width
    with ctx.inside(given):
        for inner in graph:
            for problem in lower_node(ctx, inner):
                raise Refused(f"inside of it, at {inner.op_type}: {problem}", problem.hint, problem.code)
        ctx.node, ctx.width = node, width
        return tuple(ctx.emit("identity", x=ctx.read(value)) for value in graph.outputs)


def _several(results: Var | Sequence[Var]) -> tuple[Var, ...]:
    return tuple(results) if isinstance(results, (tuple, list)) else (results,)

"""The walk over a canonical graph: every node through its lowering, every objection collected."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.quantize.groups import find_groups
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml import mil, ops
from edgeport.targets.coreml.classes import Classes, classes_of
from edgeport.targets.coreml.context import Context
from edgeport.targets.coreml.heads import is_lifted
from edgeport.targets.coreml.interface import End, ends_of
from edgeport.targets.coreml.names import Names
from edgeport.targets.coreml.registry import LOWERINGS, Refused
from edgeport.targets.coreml.scheme import floats_of, fusible
from edgeport.targets.halves import wide_nodes
from edgeport.targets.lowering import Lowering, finding
from edgeport.targets.walk import problems_of


@dataclass(frozen=True)
class Lowered:
    """A function built from a graph.

    Attributes:
        function: the function, its outputs set.
        canonical: identifiers of the program -> canonical names.
        ends: its inputs and outputs.
        findings: what could not be lowered; `function` is worth nothing unless this is empty.
        classes: what makes it a classifier.
        states: inputs that are states -> their identifiers.
    """

    function: Any
    canonical: Mapping[str, str]
    ends: tuple[End, ...]
    findings: tuple[Finding, ...]
    classes: Classes | None = None
    states: Mapping[str, str] = field(default_factory=dict)


def lower_graph(model: ir.Model, plan: Plan, deployment: str) -> Lowered:
    """Builds the MIL function of a graph.

    Args:
        model: the canonical graph in the forms that this target lowers.
        plan: kernels and quantization parameters.
        deployment: the oldest system that is to take the program, e.g. `iOS17`.
    """
    ops.register()
    graph = model.graph
    named = [v.name or "" for v in (*graph.inputs, *graph.outputs)]
    written = {output: name for name, output in plan.states.items()}
    graphs = (graph, *graph.subgraphs())
    groups = {node: group for each in graphs for node, group in find_groups(each, fusible).items()}
    wide = frozenset(node for each in graphs for node in wide_nodes(each, plan))
    ctx = Context(plan, groups, deployment, floats_of(plan), Names(named), wide=wide)
    findings: list[Finding] = []
    for value in (*graph.inputs, *graph.outputs):
        try:
            ctx.end(value)
            if value.name in plan.states and value.dtype != ir.DataType.FLOAT:
                raise Refused(f"state {value.name!r} is {value.dtype}, Core ML keeps floats", code="unsupported-dtype")
        except Refused as refused:
            concerned = (value.producer(), *(use.node for use in value.uses()), *graph)
            findings.append(finding(refused, next((node for node in concerned if node is not None), None)))
    if findings:  # nothing can be built without its ends
        return Lowered(None, {}, (), tuple(findings))
    inputs = {v.name or "": ctx.names.of(v.name or "input") for v in graph.inputs}
    given = [v for v in graph.inputs if v.name not in plan.states]
    holders = {inputs[v.name or ""]: ctx.end(v) for v in given}
    kept = {inputs[v.name or ""]: ctx.end(v)[0] for v in graph.inputs if v.name in plan.states}
    with mil.function(holders, deployment, kept) as function:
        for value in graph.inputs:
            var = function.inputs[inputs[value.name or ""]]
            ctx.bind_input(value, var if value in given else ctx.emit("read_state", f"{value.name}_read", input=var))
        for node in graph:
            problems = lower_node(ctx, node)
            findings.extend(finding(problem, node) for problem in problems)
            if problems:
                _stand_in(ctx, node)
        if findings:
            return Lowered(None, {}, (), tuple(findings))
        returned = []
        for value in graph.outputs:
            var = ctx.returned(value)
            if value.name in written:
                state = function.inputs[inputs[written[value.name]]]
                ctx.emit("coreml_update_state", state=state, value=ctx.cast(var, "float16"))
            else:
                returned.append(var)
        handed_out = [v for v in graph.outputs if v.name not in written]
        classes = classes_of(ctx, handed_out, returned)
        function.set_outputs(returned if classes is None else [*returned, classes.numbers])
    outputs = {v.name or "": var.name for v, var in zip(handed_out, returned, strict=True)}
    ends = (*ends_of("input", given, inputs, ctx.end), *ends_of("output", handed_out, outputs, ctx.end))
    states = {name: inputs[name] for name in plan.states}
    return Lowered(function, dict(ctx.names.canonical), ends, (), classes, states)


def _stand_in(ctx: Context, node: ir.Node) -> None:
    for value in node.outputs:
        if not ctx.is_bound(value) and (value.uses() or value.is_graph_output()):
            with contextlib.suppress(Refused):  # of what has no shape or type nothing more can be said
                ctx.stand_in(value)


def lower_node(ctx: Context, node: ir.Node) -> list[Refused]:
    """Emits what a node computes and binds its outputs; what stands against it."""
    if all(ctx.is_bound(out) for out in node.outputs):  # absorbed by a kernel before it
        return []
    return problems_of(ctx, node, LOWERINGS, _ready)


def _ready(ctx: Context, node: ir.Node, _: Lowering[Context]) -> bool:
    """Makes a node the current one; False behind a refused node whose result has no known shape or type."""
    ctx.node = node
    ctx.width = "float32" if node in ctx.wide else "float16"
    ctx.lifted = is_lifted(ctx, node)
    return all(ctx.is_bound(v) for v in node.inputs if v is not None and v.const_value is None)

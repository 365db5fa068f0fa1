"""From targets and data to one plan a target: statistics are collected once for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from edgeport.calibration import ChannelPowers, Statistics, choose_range
from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.observed_form import ObservedForm, form_ranges, observed_form
from edgeport.quantize.assign import Assignment, assign, left_in_float
from edgeport.quantize.operands import integer_inputs, rule_of
from edgeport.quantize.plan import NodePlan, Plan
from edgeport.quantize.planner import UnsettledError, make_plan
from edgeport.quantize.scheme import Scheme
from edgeport.quantize.scheme_options import by_kernel

_FLOATS = ("float32", "fp16-weights")


@dataclass(frozen=True)
class Assigned:
    """A target's scheme and what it wants of the graph, before any data.

    Attributes:
        scheme: the scheme.
        assignment: kernels, and the tensors that must get parameters.
        form: another form of the graph every tensor of which gets a range as well; None: none is wanted.
    """

    scheme: Scheme
    assignment: Assignment
    form: ObservedForm | None = None


def assign_for(graph: ir.Model, scheme: Scheme) -> Assigned:
    """Applies a scheme to a canonical graph.

    Raises:
        ModelError: the scheme wants integers everywhere, and a node has no integer kernel.
    """
    scheme = by_kernel(graph.graph, scheme)
    form = None if scheme.observed is None else observed_form(graph, scheme.observed)
    return Assigned(scheme, _checked(graph, scheme, assign(graph.graph, scheme)), form)


def _checked(graph: ir.Model, scheme: Scheme, assignment: Assignment) -> Assignment:
    if not scheme.everywhere:
        return assignment
    left = left_in_float(graph.graph, assignment)
    if left:
        raise ModelError(
            f"{len(left)} node(s) have no integer kernel ({', '.join(sorted({node.op for node in left}))}): "
            "leave --scheme full-integer out, and they run in float",
            [
                Finding("error", "no-integer-kernel", f"it would run in float: {node.reason}", node.name, node.op)
                for node in left
            ],
        )
    return assignment


def tensors_to_observe(assigned: Sequence[Assigned]) -> tuple[str, ...]:
    """The union of what all targets ask for, in a stable order."""
    forms = [name for a in assigned if a.form is not None for name in a.form.requests]
    return tuple(dict.fromkeys((*(name for a in assigned for name in a.assignment.requests), *forms)))


def forms_to_observe(assigned: Sequence[Assigned]) -> tuple[ir.Model, ...]:
    """The forms of the graph that compute what it does not compute itself and a target asks for."""
    return tuple(a.form.model for a in assigned if a.form is not None)


def powers_to_observe(assigned: Sequence[Assigned]) -> dict[str, int]:
    """The channels whose power all targets together can use, by tensor: name -> axis."""
    found: dict[str, int] = {}
    for one in assigned:
        for name, axis in one.assignment.powers.items():
            found.setdefault(name, axis)
    return found


def plan_for(graph: ir.Model, assigned: Assigned, statistics: Statistics | None, method: str) -> Plan:
    """Turns statistics into one target's plan.

    What was NaN or infinite in calibration stays float, and so does what no scale can hold, or none well enough for
    the scheme.

    Raises:
        CalibrationError: the statistics do not cover a tensor.
        ModelError: as for `assign_for`.
    """
    scheme = assigned.scheme

    def channels(tensor: str, axis: int) -> ChannelPowers | None:
        seen = None if statistics is None else statistics.powers.get(tensor)
        return None if seen is None or seen.axis != axis else seen

    if statistics is None or not scheme.needs_data:
        return make_plan(assigned.assignment, scheme, None, method, channels=channels)
    if scheme.wide or scheme.eight_bit_floats:  # with 65,536 steps, or relative ones, clipping wins nothing
        method = "min-max"

    def ranges(tensor: str, within: tuple[float, float], symmetric: bool) -> tuple[float, float]:
        seen = statistics.tensors[tensor]
        return choose_range(seen, method, symmetric=symmetric, within=within, clipping=scheme.clipping)

    def moments(tensor: str) -> tuple[float, float] | None:
        seen = statistics.tensors.get(tensor)
        return None if seen is None or seen.counts is None else (seen.mean, seen.standard_deviation)

    unbounded = {n: "was NaN or infinite in calibration" for n, s in statistics.tensors.items() if s.non_finite}
    while True:
        assignment = _without(graph, assigned, unbounded, statistics)
        try:
            plan = make_plan(assignment, scheme, ranges, method, moments, channels)
            coarse = _too_coarse(plan, assignment, scheme, statistics)
            if not coarse:
                break
            unbounded |= coarse
        except UnsettledError as error:
            unbounded |= dict.fromkeys(error.names, "needs a scale that depends on itself")
    if assigned.form is None:
        return plan
    symmetric = scheme.symmetric_activations
    beside = form_ranges(assigned.form, statistics, method, symmetric=symmetric, clipping=scheme.clipping)
    return replace(plan, ranges=beside)


def _too_coarse(plan: Plan, assignment: Assignment, scheme: Scheme, statistics: Statistics) -> dict[str, str]:
    """Activations of which one scale keeps less than the scheme wants, each with what it keeps.

    What a node reads for which the user asked for integers is let be.
    """
    if scheme.least_kept is None:
        return {}
    asked = {
        value.name
        for group in assignment.integer_groups
        if group.anchor.name in scheme.layers
        for value in integer_inputs(group, rule_of(group.anchor, scheme))
    }
    found = {}
    for name, entry in plan.tensors.items():
        seen = statistics.tensors.get(name)
        if name in asked or entry.role != "activation" or entry.qparams is None or seen is None or seen.counts is None:
            continue
        if seen.minimum or seen.maximum:  # zeros alone are exact, but not the middle of their bin
            kept = seen.kept(entry.qparams.restored)
            if kept < scheme.least_kept:
                found[name] = f"keeps {kept:.1f} {_too_little(scheme)}"
    return found


def _too_little(scheme: Scheme) -> str:
    return f"dB in 8 bits, less than {scheme.least_kept:g}"


def kept_in_float(scheme: Scheme, plan: Plan) -> tuple[Finding, ...]:
    """Says how many layers stay float for what one scale keeps of their input, and how to have them in integers."""
    if scheme.least_kept is None:
        return ()
    anchors = [node for node in plan.nodes.values() if _is_anchor(node, scheme)]
    coarse = [node for node in anchors if node.reason.endswith(_too_little(scheme))]
    if not coarse or len(coarse) == len(anchors):
        return ()
    first = coarse[0]
    message = (
        f"{len(coarse)} of {len(anchors)} layers with weights compute in float, such as {first.name}: {first.reason}"
    )
    hint = f'--layer-precision "{first.name}={scheme.precision}" insists; --dry-run lists them'
    return (Finding("info", "kept-in-float", message, hint=hint),)


def nothing_gained(scheme: Scheme, plan: Plan) -> tuple[Finding, ...]:
    """Says that no node became what the precision is for, with the reason that most of those that it speeds up have."""
    kernel, precision = scheme.kernel, scheme.precision
    nodes = plan.nodes.values()
    if kernel in _FLOATS or any(node.kernel not in _FLOATS for node in nodes):
        return ()
    reasons = Counter(node.reason for node in nodes if _is_anchor(node, scheme))
    why = f"mostly because {reasons.most_common(1)[0][0]}" if reasons else "it has none that can be"
    hint = "--dry-run says why of every node"
    if kernel in ("palettized", "sparse"):
        message = f"no weight is stored as --precision {precision} means it: {why}"
        return (Finding("warning", "nothing-compressed", message, hint=hint),)
    return (Finding("warning", "nothing-quantized", f"no node runs in {precision}: {why}", hint=hint),)


def _is_anchor(node: NodePlan, scheme: Scheme) -> bool:
    return node.op in scheme.rules and scheme.rules[node.op].role == "anchor"


def _without(graph: ir.Model, assigned: Assigned, unbounded: Mapping[str, str], statistics: Statistics) -> Assignment:
    """The assignment that keeps some tensors in float, each for a reason.

    What then needs statistics that nobody collected, since it only moved other tensors' values, is float as well.
    """
    assignment = assigned.assignment
    known = {*statistics.tensors, *assignment.requests}
    floats = dict(unbounded)
    while floats:
        assignment = _checked(graph, assigned.scheme, assign(graph.graph, assigned.scheme, floats))
        new = {n: "follows what no integers can hold" for n in assignment.requests if n not in known | floats.keys()}
        if not new:
            break
        floats |= new
    return assignment

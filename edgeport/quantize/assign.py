"""First half of planning, before any data: which node runs in integers, and which tensors need a range for it.

Anchors (convolutions, constant matrix products) run in integers whenever their operands allow. Glue (additions,
concatenations, ...) runs in integers only between integer kernels, because elsewhere it would cost a conversion
and precision and save nothing. Passthrough operators follow their producer. The assignment is the greatest fixed
point: everything starts in integers and leaves when its condition fails, so that a transformer's residual stream,
whose additions only feed normalizations and each other, ends up in float, and a CNN's ends up in integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgeport.inner import inner_name
from edgeport.passes.fourier_matrix import KEEP_FLOAT
from edgeport.quantize.clusters import Cluster, find_clusters
from edgeport.quantize.groups import KernelGroup, find_groups
from edgeport.quantize.importance import channel_axis
from edgeport.quantize.operands import integer_inputs, integer_outputs, rule_of, symmetric_inputs
from edgeport.quantize.plan import INTEGERS, Kernel, NodePlan, QParams
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.quantize.spectra import spectral_products
from edgeport.quantize.weight_storage import why_not_stored
from edgeport.sample import Array

_NOTHING: Mapping[str, str] = {}
_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Assignment:
    """Kernels of all nodes and the tensors that must get quantization parameters.

    Attributes:
        nodes: node name -> decision.
        weights: weight value name -> (the value, its channel axis or None).
        clusters: sets of activations with common parameters; each lists its member names, the members whose
            statistics decide the range (the others only carry a subset of their values), and fixed parameters.
        kernels: for every weight, the groups that use it (their biases bound the weight's scales).
        integer_groups: the groups whose activations are integers, in the graph's order.
        powers: activation name -> the channel axis along which its mean squares say how much weights count.
    """

    nodes: Mapping[str, NodePlan]
    weights: Mapping[str, tuple[ir.Value, int | None]]
    clusters: tuple[Cluster, ...]
    kernels: Mapping[str, tuple[KernelGroup, ...]]
    integer_groups: tuple[KernelGroup, ...]
    powers: Mapping[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> tuple[str, ...]:
        """Names of the non-constant activations whose statistics are needed."""
        return tuple(v.name or "" for c in self.clusters if c.fixed is None for v in c.sources if v.const_value is None)


def left_in_float(graph: ir.Graph, assignment: Assignment) -> tuple[NodePlan, ...]:
    """The plans of nodes that compute in float; turning plain integers into floats is no computation."""
    found = []
    for node in graph:
        plan = assignment.nodes[node.name or ""]
        values = [v for v in (*node.inputs, *node.outputs) if v is not None and v.dtype == ir.DataType.FLOAT]
        entering = node.op_type == "Cast" and not any(v in node.inputs for v in values)
        if plan.kernel != "int8" and values and not entering:
            found.append(plan)
    return tuple(found)


def assign(graph: ir.Graph, scheme: Scheme, unbounded: Mapping[str, str] = _NOTHING) -> Assignment:
    """Decides the kernel of every node of a canonical graph under a scheme.

    Args:
        graph: the canonical graph.
        scheme: the target's demands.
        unbounded: activations that no integers can hold, each with the reason.
    """
    groups = find_groups(graph, scheme.fusible)
    kernels, reasons = _first_guess(graph, groups, scheme, unbounded)
    others = {node: group for node, group in kernels.items() if scheme.kernel_of(node) not in INTEGERS}
    kernels = {node: group for node, group in kernels.items() if node not in others}
    _relax(kernels, reasons, groups, scheme)
    alone = _alone(kernels, groups, scheme)
    if alone:
        for node, kernel in alone.items():
            group = kernels.pop(node)
            if kernel != "float32":
                others[node] = group
            reasons[node] = f"{kernel}: float operators feed and read it"
        _relax(kernels, reasons, groups, scheme)
    weights, users = _weights((kernels, others), reasons, scheme)
    nodes = {}
    for node, group in groups.items():
        runs = group.anchor in kernels or group.anchor in others
        kernel = alone.get(group.anchor, scheme.kernel_of(group.anchor)) if runs else "float32"
        reason = reasons.get(group.anchor, "")
        asked = f"{scheme.at(group.anchor).precision} was asked for"
        if scheme.at(group.anchor) is not scheme and reason != asked:
            reason += f"; {asked}"
        if node is not group.anchor:
            reason = f"runs inside {group.anchor.op_type} {group.anchor.name}"
        nodes[node.name or ""] = NodePlan(node.name or "", node.op_type, kernel, reason)
    clusters = find_clusters(kernels.values(), scheme)
    return Assignment(nodes, weights, clusters, users, tuple(kernels.values()), _powers(kernels | others, scheme))


_Kernels = dict[ir.Node, KernelGroup]
_Reasons = dict[ir.Node, str]


def _first_guess(
    graph: ir.Graph, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme, unbounded: Mapping[str, str]
) -> tuple[_Kernels, _Reasons]:
    """Every node whose rule allows it, before its surroundings are looked at."""
    kernels: _Kernels = {}
    reasons: _Reasons = {}
    relative = frozenset() if scheme.everywhere else spectral_products(graph)
    for group in dict.fromkeys(groups.values()):
        node = group.anchor
        rule, kernel, here = scheme.rule(node), scheme.kernel_of(node), scheme.at(node)
        if here is not scheme and here.kernel == "float32":
            reasons[node] = f"{here.precision} was asked for"
        elif not here.rules:
            reasons[node] = f"{here.precision} computes in floats"
        elif rule is None or kernel == "float32":
            reasons[node] = f"{node.op_type} has no {here.precision} kernel in this scheme"
        elif (refusal := rule.refuses(node)) is not None:
            reasons[node] = refusal
        elif KEEP_FLOAT in node.metadata_props and kernel != "fp16-weights" and not scheme.everywhere:
            reasons[node] = node.metadata_props[KEEP_FLOAT]
        elif not all(_constant_weight(node, index) for index in rule.weights):
            reasons[node] = "its weights are not constant"
        elif not all(_finite_weight(node, index) for index in rule.weights):
            reasons[node] = "its weights hold NaN or infinite values"
        elif kernel == "fp16-weights" and not all(_fits_float16(node, index) for index in rule.weights):
            reasons[node] = f"its weights are beyond float16, which ends at {_FLOAT16_MAX:.0f}"
        elif (cost := why_not_stored(_constants(node, rule), here, kernel)) is not None:
            reasons[node] = cost
        elif kernel in INTEGERS and not integer_inputs(group, rule):
            reasons[node] = "it has no float input"
        elif kernel in ("int8", "fp8") and node in relative:
            reasons[node] = "it computes a spectrum, where relative errors of small values count"
        elif kernel in INTEGERS and (names := _touched(group, rule) & set(unbounded)):
            reasons[node] = f"{min(names)} {unbounded[min(names)]}"
        else:
            kernels[node] = group
            reasons[node] = f"{rule.role} with {kernel} kernel"
            if kernel != here.kernel:
                reasons[node] += f"; {node.op_type} has none in {here.kernel} that is worth having"
    return kernels, reasons


def _constants(node: ir.Node, rule: OpRule) -> tuple[Array, ...]:
    values = (node.inputs[index] for index in rule.weights)
    return tuple(v.const_value.numpy() for v in values if v is not None and v.const_value is not None)


def _touched(group: KernelGroup, rule: OpRule) -> set[str]:
    names = {v.name or "" for v in (*integer_inputs(group, rule), *integer_outputs(group, rule))}
    return names | {inner_name(group.anchor, part.role) for part in rule.inner}


def _constant_weight(node: ir.Node, index: int) -> bool:
    value = node.inputs[index] if index < len(node.inputs) else None
    return value is not None and value.const_value is not None and value.dtype == ir.DataType.FLOAT


def _finite_weight(node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    return value is None or value.const_value is None or bool(np.isfinite(value.const_value.numpy()).all())


def _fits_float16(node: ir.Node, index: int) -> bool:
    value = node.inputs[index]
    return (
        value is None
        or value.const_value is None
        or bool(np.abs(value.const_value.numpy()).max(initial=0) <= _FLOAT16_MAX)
    )


def _relax(kernels: _Kernels, reasons: _Reasons, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme) -> None:
    """Takes kernels out until every one that is left can be and has its reason to be there."""
    changed = True
    while changed:
        changed = False
        for node, group in list(kernels.items()):
            reason = _out_of_place(group, kernels, groups, scheme)
            if reason is not None:
                del kernels[node]
                reasons[node] = reason
                changed = True


def _alone(kernels: _Kernels, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme) -> dict[ir.Node, Kernel]:
    """The anchors that float operators feed and read, with the kernel that their rule has for this."""
    found: dict[ir.Node, Kernel] = {}
    for node, group in kernels.items():
        rule = rule_of(node, scheme)
        if rule.alone is None or scheme.everywhere:
            continue
        fed = any(_made_in_integers(v, kernels, groups) for v in integer_inputs(group, rule))
        read = any(_read_in_integers(v, kernels, groups, scheme) for v in integer_outputs(group, rule))
        if not fed and not read:
            found[node] = rule.alone
    return found


def _out_of_place(
    group: KernelGroup, kernels: _Kernels, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme
) -> str | None:
    rule = rule_of(group.anchor, scheme)
    if rule.shared and any(_fixed_origin(v, kernels, groups, scheme) is not None for v in integer_inputs(group, rule)):
        return "one of its inputs has fixed quantization parameters, the others do not"
    if scheme.everywhere:
        return None
    for value in symmetric_inputs(group.anchor, rule):
        origin = _fixed_origin(value, kernels, groups, scheme)
        if origin is not None and origin.zero_point.any():
            return f"{value.name} needs zero point 0, and its producer fixes another"
    if rule.role == "anchor":
        return None
    if rule.within is not None:
        host = rule.within(group.anchor)
        return None if host is not None and groups[host].anchor in kernels else "its kernel computes in floats"
    inputs = integer_inputs(group, rule)
    if not any(_made_in_integers(v, kernels, groups) for v in inputs):
        return "nothing before it runs in integers"
    if rule.role == "passthrough":
        return None
    if not any(_read_in_integers(v, kernels, groups, scheme) for v in integer_outputs(group, rule)):
        return "nothing after it runs in integers"
    return None


def _made_in_integers(value: ir.Value, kernels: _Kernels, groups: Mapping[ir.Node, KernelGroup]) -> bool:
    producer = value.producer()
    return producer is not None and producer in groups and groups[producer].anchor in kernels


def _read_in_integers(
    value: ir.Value, kernels: _Kernels, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme
) -> bool:
    """Whether an anchor or glue reads the value as integers, directly or behind passthrough operators."""
    for use in value.uses():
        group = groups.get(use.node)
        if group is None or group.anchor not in kernels or use.node is not group.anchor:
            continue
        rule = rule_of(use.node, scheme)
        if not any(v is value for v in integer_inputs(group, rule)):
            continue
        if rule.role != "passthrough":
            return True
        if any(_read_in_integers(v, kernels, groups, scheme) for v in integer_outputs(group, rule)):
            return True
    return False


def _fixed_origin(
    value: ir.Value, kernels: _Kernels, groups: Mapping[ir.Node, KernelGroup], scheme: Scheme
) -> QParams | None:
    """The parameters that the operator behind the value, seen through passthrough operators, fixes for its output."""
    producer = value.producer()
    if producer is None or producer not in groups or groups[producer].anchor not in kernels:
        return None
    group = groups[producer]
    rule = rule_of(group.anchor, scheme)
    if rule.output is not None:
        return rule.output
    if rule.role != "passthrough":
        return None
    return _fixed_origin(integer_inputs(group, rule)[0], kernels, groups, scheme)


def _weights(
    assigned: tuple[_Kernels, ...], reasons: _Reasons, scheme: Scheme
) -> tuple[dict[str, tuple[ir.Value, int | None]], dict[str, tuple[KernelGroup, ...]]]:
    """Collects the weights; a constant that two kernels want in different forms serves the first only."""
    weights: dict[str, tuple[ir.Value, int | None]] = {}
    forms: dict[str, tuple[str, int | None]] = {}
    users: dict[str, tuple[KernelGroup, ...]] = {}
    for kernels in assigned:
        for node, group in list(kernels.items()):
            rule = rule_of(node, scheme)
            axis = rule.weight_axis if scheme.at(node).per_channel else None
            form = _form(node, axis, scheme)
            values = [value for value in (node.inputs[index] for index in rule.weights) if value is not None]
            if other := next((v for v in values if forms.get(v.name or "", form) != form), None):
                del kernels[node]
                along = "along another axis" if forms[other.name or ""][0] == form[0] else "in another way"
                reasons[node] = f"its weights {other.name} are quantized {along} for another kernel"
                continue
            for value in values:
                assert value.name is not None
                weights.setdefault(value.name, (value, axis))
                forms[value.name] = form
                users[value.name] = (*users.get(value.name, ()), group)
    return weights, users


def _form(node: ir.Node, axis: int | None, scheme: Scheme) -> tuple[str, int | None]:
    """How a node's weights are stored, with the axis where kernels depend on it: those that compute in float do not
    when weights are palettes or lie under a mask."""
    kernel = scheme.kernel_of(node)
    if kernel in ("palettized", "sparse"):
        return scheme.at(node).precision, None
    return kernel.removeprefix("int16x8").partition("-")[0] or "int8", axis


def _powers(kernels: _Kernels, scheme: Scheme) -> dict[str, int]:
    """The channels that meet weights which are chosen by their importance, or whose errors a float bias takes off."""
    found: dict[str, int] = {}
    for node, group in kernels.items():
        corrected = rule_of(node, scheme).gives_floats and group.bias_value is not None
        if corrected or scheme.kernel_of(node) in ("palettized", "sparse"):
            sources = (channel_axis(node, index) for index in rule_of(node, scheme).weights)
            for name, axis in (source for source in sources if source is not None):
                found.setdefault(name, axis)
    return found

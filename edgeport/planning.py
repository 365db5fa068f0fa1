"""From targets and data to one plan a target: statistics are collected once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.calibration import Statistics, choose_range
from edgeport.quantize.assign import Assignment, assign
from edgeport.quantize.plan import Plan
from edgeport.quantize.planner import make_plan
from edgeport.quantize.scheme import Scheme


@dataclass(frozen=True)
class Assigned:
    """A target's scheme and what it wants of the graph, before any data."""

    scheme: Scheme
    assignment: Assignment


def assign_for(graph: ir.Model, scheme: Scheme) -> Assigned:
    """Applies a scheme to a canonical graph."""
    return Assigned(scheme, assign(graph.graph, scheme))


def tensors_to_observe(assigned: Sequence[Assigned]) -> tuple[str, ...]:
    """The union of what all targets ask for, in a stable order."""
    return tuple(dict.fromkeys(name for a in assigned for name in a.assignment.requests))


def plan_for(graph: ir.Model, assigned: Assigned, statistics: Statistics | None, method: str) -> Plan:
    """Turns statistics into one target's plan; what was NaN or infinite in calibration stays float.

    Raises:
        CalibrationError: the statistics do not cover a tensor.
    """
    scheme = assigned.scheme
    if statistics is None or not scheme.needs_data:
        return make_plan(assigned.assignment, scheme, None, method)
    unbounded = [name for name, s in statistics.tensors.items() if s.non_finite]
    assignment = assign(graph.graph, scheme, unbounded) if unbounded else assigned.assignment

    def ranges(tensor: str, within: tuple[float, float], symmetric: bool) -> tuple[float, float]:
        return choose_range(statistics.tensors[tensor], method, symmetric=symmetric, within=within)

    return make_plan(assignment, scheme, ranges, method)

"""Which activations share one scale and zero point: what passes integers on does not change them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from edgeport.inner import inner_name
from edgeport.quantize.groups import KernelGroup
from edgeport.quantize.operands import integer_inputs, integer_outputs, rule_of, symmetric_inputs
from edgeport.quantize.plan import QParams
from edgeport.quantize.saturation import EVERYTHING, Interval, distinguished
from edgeport.quantize.scheme import Scheme


@dataclass(frozen=True)
class Cluster:
    """Activations that share one scale and zero point.

    Attributes:
        members: their names.
        sources: those whose statistics decide the range.
        fixed: parameters that the kernels fix.
        within: the interval that their readers tell apart.
        symmetric: the zero point must be 0.
    """

    members: tuple[str, ...]
    sources: tuple[ir.Value, ...]
    fixed: QParams | None
    within: Interval
    symmetric: bool = False


def find_clusters(kernels: Iterable[KernelGroup], scheme: Scheme) -> tuple[Cluster, ...]:
    """Joins the activations of integer kernels that must share parameters (union-find over value names)."""
    parent: dict[str, str] = {}
    values: dict[str, ir.Value] = {}
    fixed: dict[str, QParams] = {}
    derived: set[str] = set()
    symmetric: set[str] = set()
    inner: list[Cluster] = []

    def find(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group in kernels:
        rule = rule_of(group.anchor, scheme)
        inputs, outputs = integer_inputs(group, rule), integer_outputs(group, rule)
        for value in (*inputs, *outputs):
            assert value.name is not None
            parent.setdefault(value.name, value.name)
            values[value.name] = value
        if rule.output is not None and group.activation is None:
            fixed[outputs[0].name or ""] = rule.output
        symmetric.update(v.name or "" for v in symmetric_inputs(group.anchor, rule))
        for part in rule.inner:
            name = inner_name(group.anchor, part.role)
            inner.append(Cluster((name,), (ir.Value(name=name),), part.qparams, EVERYTHING))
        if rule.role == "passthrough" or rule.shared:
            derived.update(v.name or "" for v in outputs)
            joined = [v.name or "" for v in (*inputs, *outputs)]
            for other in joined[1:]:
                parent[find(other)] = find(joined[0])
    members: dict[str, list[str]] = {}
    for name in parent:
        members.setdefault(find(name), []).append(name)
    joint = [
        Cluster(
            members=tuple(names),
            sources=tuple(values[n] for n in names if n not in derived),
            fixed=next((fixed[n] for n in names if n in fixed), None),
            within=distinguished([values[n] for n in names], names),
            symmetric=not symmetric.isdisjoint(names),
        )
        for names in members.values()
    ]
    return (*joint, *inner)

"""What XNNPACK leaves to the runtime's own kernels, and which of those are missing or decline; as findings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.passes.edit import static_shape
from edgeport.targets.executorch.program import Program
from edgeport.targets.lowering import Refused, finding


def undelegated(program: Program) -> tuple[Finding, ...]:
    """Says what XNNPACK does not compute."""
    if not program.kernels:
        return ()
    counts = sorted(program.kernels.items(), key=lambda item: (-len(item[1]), item[0]))
    said = ", ".join(f"{len(t)} x {op.removesuffix('.out').replace('::', '.')} (e.g. {t[0]})" for op, t in counts)
    total = sum(len(tensors) for tensors in program.kernels.values())
    message = f"{total} operators run in ExecuTorch's own kernels between {program.delegates} parts in XNNPACK: {said}"
    return (Finding("info", "undelegated", message),)


def lacking_kernels(program: Program, form: ir.Model, known: Set[str]) -> list[Finding]:
    """What the runtime has no kernel for, with the nodes that need it.

    Args:
        program: the program.
        form: the graph that it was made of.
        known: the runtime's operators.
    """
    lacking = sorted(set(program.kernels) - known)
    return [
        found
        for operator in lacking
        for found in _about(program, form, operator, f"ExecuTorch's runtime has no kernel {operator} for it")
    ]


def failed_kernels(program: Program, form: ir.Model, said: str) -> list[Finding]:
    """The nodes that need the kernel of which the runtime has said that it failed."""
    operators = dict.fromkeys(re.findall(r"in operator (\w+::[\w.]+)", said))
    return [
        found
        for operator in operators
        for found in _about(program, form, operator, f"ExecuTorch's kernel {operator} does not take its operands")
    ]


def empty_tensors(form: ir.Model) -> list[Finding]:
    """The nodes that compute or read tensors without elements, over which the exporter stumbles."""
    refused = Refused(
        "ExecuTorch's exporter does not take tensors without elements here", "leave them out of the model"
    )
    found = [node for node in form.graph if _has_empty((*node.inputs, *node.outputs))]
    if not found and _has_empty(form.graph.inputs):  # what reads them is a constant
        found = list(form.graph)[:1]
    return [finding(refused, node) for node in found]


def _has_empty(values: Iterable[ir.Value | None]) -> bool:
    return any(0 in (static_shape(value) or ()) for value in values)


def _about(program: Program, form: ir.Model, operator: str, message: str) -> list[Finding]:
    makers = {value.name: node for node in form.graph for value in node.outputs}
    tensors = dict.fromkeys(program.kernels.get(operator, ()))
    nodes = dict.fromkeys(makers.get(tensor) for tensor in tensors)
    return [finding(Refused(message, code="unsupported-op"), node) for node in nodes]

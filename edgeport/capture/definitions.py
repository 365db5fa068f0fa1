"""Nodes against ONNX's definitions of their operators, for graphs that no runtime looks at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding

_NEWEST = 1000
"""No opset is beyond; larger numbers do not fit where ONNX looks them up."""


def check_nodes(model: ir.Model, where: str) -> None:
    """Looks at the inputs, outputs and attributes of every node, those of subgraphs included.

    Operators that ONNX does not define are let be.

    Raises:
        ModelError: a node has more or fewer inputs or outputs than its operator takes, an attribute of another type or
            none that it must have. The findings name every place.
    """
    findings = [
        Finding("error", "unsound-node", fault, node.name, node.op_type)
        for node in model.graph.all_nodes()
        for fault in _faults(node, model.opset_imports.get(node.domain, 1))
    ]
    if findings:
        first = findings[0]
        raise ModelError(
            f"{where} is damaged: {first.op} {first.node!r}: {first.message}; export the model again", findings
        )


def _faults(node: ir.Node, opset: int) -> Iterator[str]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.UNDEFINED:
            yield f"attribute {attribute.name} has no type"
    schema = _schema(node, opset)
    if schema is not None:
        yield from _counted("input", node.inputs, schema.inputs, schema.min_input, schema.max_input)
        yield from _counted("output", node.outputs, schema.outputs, schema.min_output, schema.max_output)
        yield from _attributes(node, schema)


def _schema(node: ir.Node, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(node.op_type, opset, node.domain) if 0 < opset < _NEWEST else None
    except onnx.defs.SchemaError:
        return None


def _counted(
    kind: str, given: Sequence[ir.Value | None], formal: Sequence[Any], least: int, most: int
) -> Iterator[str]:
    single = onnx.defs.OpSchema.FormalParameterOption.Single
    count = max((place for place, value in enumerate(given, 1) if _is_there(value)), default=0)
    if not least <= count <= most:
        yield f"it has {count} {kind}(s), where {least} to {most} are defined"
        return
    for value, parameter in zip(given, formal, strict=False):
        if not _is_there(value) and parameter.option == single:
            yield f"{kind} {parameter.name} is missing"


def _is_there(value: ir.Value | None) -> bool:
    return value is not None and bool(value.name)


def _attributes(node: ir.Node, schema: Any) -> Iterator[str]:
    for name, formal in schema.attributes.items():
        given = node.attributes.get(name)
        if given is None:
            if formal.required:
                yield f"attribute {name} is missing"
        elif not given.is_ref() and given.type.name != formal.type.name:
            yield f"attribute {name} is {given.type.name}, it must be {formal.type.name}"

"""Whether a node is one that an opset defines: its attributes, inputs, outputs and element types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import onnx
import onnx_ir as ir

from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.targets.lowering import Refused


@cache
def schema_of(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    """The operator's definition, None where the opset has none."""
    try:
        return onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return None


def defaults_dropped(node: ir.Node, opset: int) -> None:
    """Takes away attributes that the opset does not know and whose value is what their absence means."""
    older, newer = schema_of(node.op_type, opset), schema_of(node.op_type, CANONICAL_OPSET)
    if older is None or newer is None:
        return
    for name in list(node.attributes):
        if name in older.attributes or name not in newer.attributes:
            continue
        default = newer.attributes[name].default_value
        value = node.attributes[name].value
        if default.name and value == _plain(onnx.helper.get_attribute_value(default)):
            del node.attributes[name]
    while node.inputs and node.inputs[-1] is None:
        node.resize_inputs(len(node.inputs) - 1)


def differences(node: ir.Node, opset: int) -> Iterator[Refused]:
    """Why the opset has no such node."""
    schema = schema_of(node.op_type, opset)
    if schema is None or schema.deprecated:
        yield Refused(f"it is not an operator of opset {opset}", "replace it in the source model", "unsupported-op")
        return
    for name in node.attributes:
        if name not in schema.attributes:
            yield Refused(f"opset {opset} does not know its attribute {name!r}", code="unsupported-attribute")
    if len(node.inputs) > schema.max_input:
        yield Refused(f"it has {len(node.inputs)} inputs, opset {opset} allows {schema.max_input}")
    if len(node.outputs) > schema.max_output:
        yield Refused(f"it has {len(node.outputs)} outputs, opset {opset} allows {schema.max_output}")
    for values, formal in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for index, value in enumerate(values):
            kind = _type_of(value)
            if kind is None or not formal:
                continue
            allowed = formal[min(index, len(formal) - 1)].types
            if kind not in allowed:
                yield Refused(
                    f"opset {opset} does not define it for {kind}",
                    "compute it in another element type",
                    "unsupported-dtype",
                )


def _type_of(value: ir.Value | None) -> str | None:
    if value is None or not isinstance(value.type, ir.TensorType):
        return None
    return f"tensor({_NAMES.get(value.type.dtype.name, value.type.dtype.name.lower())})"


_NAMES = {"FLOAT8E4M3FN": "float8e4m3fn", "FLOAT8E5M2": "float8e5m2"}


def _plain(value: object) -> object:
    return value.decode() if isinstance(value, bytes) else value

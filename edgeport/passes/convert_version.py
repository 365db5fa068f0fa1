"""Every node speaks the canonical opset.

    ai.onnx 11                               ai.onnx 24
    x --> Softmax(axis=1) --> y     ==>      x --> Flatten(1) --> Softmax(-1) --> Reshape(Shape(x)) --> y

Operators whose meaning or form changed on the way from opset 7 are rewritten by the functions of `opset_changes`; of
older models only operators that did not change before it are read. Every other operator is checked against its
canonical schema (not deprecated, no attribute or input that it doesn't know). A model above the canonical opset is
relabelled when none of its operators uses anything newer. Other domains are left alone. Functions must have been
inlined.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from edgeport.errors import ModelError
from edgeport.findings import Finding
from edgeport.passes.edit import nodes
from edgeport.passes.opset_changes import CHANGES, Conversion
from edgeport.passes.registry import register

CANONICAL_OPSET = 24
"""Has Swish, Gelu, RMSNormalization and Attention."""
OLDEST_OPSET = 7
"""Before it broadcasting was an attribute and training a mode that models were stored in; ONNX Runtime starts here."""
_IR_VERSION = 12  # the IR version that opset 24 was released with


@register("convert_version")
def convert_version(model: ir.Model) -> bool:
    """Converts the model to CANONICAL_OPSET.

    Raises:
        ModelError: an operator cannot be expressed there; every such operator is a finding.
    """
    findings: list[Finding] = []
    version = model.opset_imports.setdefault("", CANONICAL_OPSET)
    if version == CANONICAL_OPSET:
        return False
    if not 1 <= version <= onnx.defs.onnx_opset_version():
        known = f"{OLDEST_OPSET} to {onnx.defs.onnx_opset_version()}"
        raise ModelError(f"the model uses opset {version}; export it again with one of {known}")
    for node in nodes(model):
        finding = _convert(model, node, version)
        if finding is not None:
            findings.append(finding)
    if findings:
        shown = "; ".join(f"{f.op} ({f.node}): {f.message}" for f in findings[:3])
        more = f"; and {len(findings) - 3} more" if len(findings) > 3 else ""
        raise ModelError(f"cannot bring the model to opset {CANONICAL_OPSET}: {shown}{more}", findings)
    model.opset_imports[""] = CANONICAL_OPSET
    model.ir_version = max(model.ir_version or 0, _IR_VERSION)
    return True


def _convert(model: ir.Model, node: ir.Node, version: int) -> Finding | None:
    op = node.op_type
    place = node.name or next((o.name for o in node.outputs if o.name), None)
    source = _schema(op, version)
    if source is None:
        return _finding(node, place, f"is not an operator of opset {version}")
    present = _schema(op, max(version, OLDEST_OPSET))
    if present is None or (version < OLDEST_OPSET and source.since_version != present.since_version):
        hint = "convert the model with onnx.version_converter.convert_version(model, 13)"
        return _finding(node, place, f"changed between opset {version} and {OLDEST_OPSET}; {hint}")
    try:
        for since, change in CHANGES.get(op, ()):
            if version < since <= CANONICAL_OPSET:
                change(Conversion(model, node, version))
                if node.graph is None:
                    return None
    except ModelError as error:
        return _finding(node, place, str(error))
    reason = next(_differences(node, source), None)
    return None if reason is None else _finding(node, place, reason)


def _finding(node: ir.Node, place: str | None, message: str) -> Finding:
    return Finding("error", "opset", message, node=place, op=node.op_type)


def _schema(op_type: str, version: int) -> onnx.defs.OpSchema | None:
    try:
        return onnx.defs.get_schema(op_type, version, "")
    except onnx.defs.SchemaError:
        return None


def _differences(node: ir.Node, source: onnx.defs.OpSchema) -> Iterator[str]:
    """What keeps this node from meaning the same in the canonical opset."""
    target = _schema(node.op_type, CANONICAL_OPSET)
    if target is None or target.deprecated:
        yield f"does not exist in opset {CANONICAL_OPSET}; replace it in the source model"
        return
    unknown = [name for name in node.attributes if name not in target.attributes]
    if unknown:
        yield f"has the attribute '{unknown[0]}', which opset {CANONICAL_OPSET} does not know"
    if len(node.inputs) > target.max_input:
        yield f"has {len(node.inputs)} inputs, {target.max_input} are allowed in opset {CANONICAL_OPSET}"
    if len(node.outputs) > target.max_output:
        yield f"has {len(node.outputs)} outputs, {target.max_output} are allowed in opset {CANONICAL_OPSET}"
    if source.since_version > CANONICAL_OPSET:
        allowed = {name for constraint in target.type_constraints for name in constraint.allowed_type_strs}
        for value in (*node.inputs, *node.outputs):
            if value is None or not isinstance(value.type, ir.TensorType):
                continue
            kind = f"tensor({_onnx_type(value.type)})"
            if allowed and kind not in allowed:
                yield f"has a {kind}, which opset {CANONICAL_OPSET} does not allow"


def _onnx_type(type_: ir.TypeProtocol) -> str:
    return {"BFLOAT16": "bfloat16"}.get(type_.dtype.name, type_.dtype.name.lower())

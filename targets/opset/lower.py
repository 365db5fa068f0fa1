"""A canonical graph in the words of an older opset, one opset at a time.

    ai.onnx 24                                ai.onnx 17
    x --> ReduceMean(axes) --> y     ==>      x --> ReduceMean(axes = ...) --> y

The functions of the table write the older form of operators that changed; whatever remains is held against the schemas
of the older opset: attributes that it does not know may only have the value that means nothing, and types, inputs and
outputs must be ones that it has. New operators are not spelled out here: the forms of each target do that.
References: the operators' change log, github.com/onnx/onnx/blob/main/docs/Changelog.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from edgeport.findings import Finding
from edgeport.passes.convert_version import CANONICAL_OPSET
from edgeport.passes.edit import nodes
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.targets.lowering import Refused, finding, refusal
from edgeport.targets.opset import elements, resampling, shapes  # noqa: F401  (they register their functions)
from edgeport.targets.opset.registry import CHANGES, Descent
from edgeport.targets.opset.schema import defaults_dropped, differences

OLDEST = 13
"""Opsets before it write quantization, Softmax and axes in other ways; TensorRT 8.0 reads this one."""
_ALLOWS_ZERO = 14
"""Opset of `allowzero`. TensorRT up to 8.4.1 stops at a Reshape without it (github.com/NVIDIA/TensorRT/issues/1598)."""


def lower_opset(model: ir.Model, opset: int) -> ir.Model:
    """A copy of a graph at the canonical opset in the form of an older one.

    Args:
        model: the graph, shapes inferred, quantized or not; not changed.
        opset: from 13 to the canonical opset.

    Returns:
        A model that says `opset` and the IR version that goes with it. Tensors that stay keep their names.

    Raises:
        ModelError: the older opset cannot express it; every such node is a finding.
    """
    lowered, findings = attempt(model, opset)
    if findings:
        raise refusal(f"ONNX opset {opset}", list(findings))
    return lowered


def attempt(model: ir.Model, opset: int) -> tuple[ir.Model, Sequence[Finding]]:
    """The copy and what stands against it; with findings the copy is not valid."""
    assert OLDEST <= opset <= CANONICAL_OPSET, opset
    copy = model.clone()
    findings: dict[ir.Node, Finding] = {}
    for version in range(CANONICAL_OPSET, opset, -1):
        changed = _step(copy, version, findings)
        copy.opset_imports[""] = version - 1
        if changed:
            common.TopologicalSortPass()(copy)
            common.NameFixPass()(copy)
            infer_shapes(copy)
    for node in nodes(copy):
        defaults_dropped(node, opset)
        if node.op_type == "Reshape" and opset >= _ALLOWS_ZERO:
            node.attributes.setdefault("allowzero", ir.AttrInt64("allowzero", 0))
        if node not in findings:
            for reason in differences(node, opset):
                findings[node] = finding(reason, node)
                break
    copy.ir_version = _ir_version(copy)
    _forget_unread(copy.graph)
    _forget_metadata(copy)
    return copy, list(findings.values())


def _step(model: ir.Model, version: int, findings: dict[ir.Node, Finding]) -> bool:
    """From `version` to the opset before it; True if something changed."""
    changed = False
    for node in nodes(model):
        change = CHANGES.get((node.op_type, version))
        if change is None or node in findings:
            continue
        try:
            change(Descent(model, node))
            changed = True
        except Refused as refused:
            findings[node] = finding(refused, node)
    return changed


def _ir_version(model: ir.Model) -> int:
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    return onnx.helper.find_min_ir_version_for(imports, ignore_unknown=True)


def _forget_unread(graph: ir.Graph) -> None:
    """Constants that became attributes, or have another form by now."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


def _forget_metadata(model: ir.Model) -> None:
    """Files of an IR version before 10 have no place for a node's or a value's metadata."""
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.metadata_props.clear()
        for value in _values(graph):
            value.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs

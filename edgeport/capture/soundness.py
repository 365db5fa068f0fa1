"""What ONNX forbids and ONNX Runtime lets pass: refused here, since every reader would take it in its own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx

from edgeport.capture.onnx_file import tensors
from edgeport.errors import ModelError
from edgeport.findings import Finding

_SWITCHES = frozenset(
    {
        "align_corners", "allowzero", "antialias", "ceil_mode", "center_point_box", "count_include_pad",
        "exclude_outside", "exclusive", "fmod", "input_forget", "interleaved", "is_causal", "keepdims", "largest",
        "linear_before_reset", "noop_with_empty_axes", "reverse", "select_last_index", "sorted", "storage_order",
        "training_mode", "transA", "transB", "unidirectional", "upper",
    }
)  # fmt: skip
"""Attributes that are 0 or 1. With another number one kernel asks for 1 and the next for anything but 0."""


_COUNTS = frozenset(
    {"blocksize", "group", "hidden_size", "kv_num_heads", "num_groups", "num_heads", "num_outputs", "q_num_heads"}
)
"""Attributes that something is divided by; zero ends the process in ONNX's or ONNX Runtime's shape inference."""


def check_sound(proto: onnx.ModelProto, where: str) -> None:
    """Looks at every node, those of subgraphs and functions included.

    Raises:
        ModelError: an output or an attribute stands twice, a Constant is not one value, a switch is neither 0 nor 1,
            a count is not positive, a permutation is none, or a name is not text. The findings name every place.
    """
    if not all(isinstance(name, str) for name in _names(proto)):
        raise ModelError(f"{where} is damaged: a name in it is not text (UTF-8); export the model again")
    findings = [
        Finding("error", "repeated-output", f"output {name!r} stands {count} times in the list of outputs")
        for name, count in Counter(value.name for value in proto.graph.output).items()
        if count > 1
    ]
    for node in _nodes(proto):
        name = node.name or next(filter(None, node.output), "")
        findings += [Finding("error", "unsound-node", text, name, node.op_type) for text in _faults(node)]
    if findings:
        first = findings[0]
        place = f"{first.op} {first.node!r}: " if first.op else ""
        raise ModelError(f"{where} is damaged: {place}{first.message}; export the model again", findings)


def _names(proto: onnx.ModelProto) -> Iterator[str]:
    """Of nodes, their operators and attributes, of tensors and of what nodes read and write."""
    for node in _nodes(proto):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (tensor.name for tensor in tensors(proto))


def _faults(node: onnx.NodeProto) -> Iterator[str]:
    for attribute in node.attribute:
        if attribute.name in _COUNTS and attribute.type == onnx.AttributeProto.INT and attribute.i < 1:
            yield f"attribute {attribute.name} is {attribute.i}, it must be at least 1"
    if node.domain not in ("", "ai.onnx"):
        return
    names = [attribute.name for attribute in node.attribute]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"attribute {name} stands {names.count(name)} times"
    if node.op_type == "Constant" and (len(names) != 1 or node.input):
        yield f"it has {len(names)} attributes and {len(node.input)} inputs instead of one value"
    for attribute in node.attribute:
        if node.op_type == "Split" and attribute.name == "num_outputs" and attribute.i != len(node.output):
            yield f"attribute num_outputs is {attribute.i}, it has {len(node.output)} outputs"
        if attribute.name in _SWITCHES and attribute.type == onnx.AttributeProto.INT and attribute.i not in (0, 1):
            yield f"attribute {attribute.name} is {attribute.i}, it can be 0 or 1"
        if attribute.name == "perm" and sorted(attribute.ints) != list(range(len(attribute.ints))):
            yield f"attribute perm is {list(attribute.ints)}, which is no permutation"


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in nodes:
            yield from _with_inner(node)


def _with_inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield node
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _with_inner(inner)

"""Protobuf message -> graph in the shape that the passes expect, whatever form the file had."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from edgeport.capture.input_shapes import DeclaredInput, FixedInputs
from edgeport.capture.onnx_file import tensors
from edgeport.capture.sizes import refuse_endless
from edgeport.capture.soundness import check_sound
from edgeport.errors import ModelError
from edgeport.findings import Finding

_OLDEST_OPSET = 1
_IR_VERSION = 8
"""From here on initializers need not be inputs and models may hold functions."""

_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
_QUANTIZED = frozenset(
    {"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
)
"""Operators that compute in few bits; a DequantizeLinear alone only stores weights small."""


def read_graph(proto: onnx.ModelProto, where: str) -> tuple[ir.Model, list[Finding]]:
    """Turns a message, whose tensors hold their own data, into a graph.

    Weights that are repeated as inputs become plain weights. value_info, which is often wrong, doc strings and
    metadata of nodes, which hold paths, are dropped; nodes without a name of their own get one.

    Args:
        proto: the message; it is changed and must not be used afterwards.
        where: what to call the source in messages.

    Raises:
        ModelError: no opset, sparse weights, a cycle, a duplicate definition, inputs and outputs that are not
            tensors, or what `check_sound` and `refuse_endless` refuse.
    """
    findings: list[Finding] = []
    _check_opset(proto, where)
    _refuse_sparse(proto, where)
    check_sound(proto, where)
    _drop_repeated_inputs(proto.graph)
    refuse_endless(proto, where)
    _drop_value_info(proto)
    untyped = [t.name for t in tensors(proto) if t.data_type == onnx.TensorProto.UNDEFINED]
    if untyped:
        raise ModelError(f"{where} is damaged: weight {untyped[0]!r} has no data type; export the model again")
    proto.ir_version = max(proto.ir_version, _IR_VERSION)
    log = logging.getLogger("onnx_ir")  # it warns of what _check_defined refuses
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        model = ir.from_proto(proto)
    except Exception as error:  # a damaged graph fails wherever the deserializer meets the damage
        cause = " ".join(str(error.__cause__ or error).split())
        raise ModelError(f"{where} is not a valid ONNX graph: {cause}; export the model again") from error
    finally:
        log.setLevel(level)
    if not model.graph.outputs:
        raise ModelError(f"{where} has no outputs; export the model again")
    _check_defined(model, where)
    _sort(model, where)
    _name_nodes(model)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.domain == "" and node.op_type in _RANDOM:
            message = f"{node.op_type} gives other values in every run, so no drift can be measured behind it"
            findings.append(Finding("warning", "random-op", message, node.name, node.op_type))
    quantized = [n for n in model.graph.all_nodes() if n.domain == "" and n.op_type in _QUANTIZED]
    if quantized:
        names = ", ".join(sorted({node.op_type for node in quantized}))
        message = f"the source is quantized already ({len(quantized)} nodes: {names}); they are computed in float"
        hint = "export the float model and let --precision quantize it: the file will be faster"
        findings.append(Finding("warning", "already-quantized", message, quantized[0].name, quantized[0].op_type, hint))
    return model, findings


def declared_inputs(model: ir.Model, where: str) -> list[DeclaredInput]:
    """The inputs as the graph declares them; a dimension without a name or a size gets a name of its own.

    Raises:
        ModelError: an input is not a tensor of numbers.
    """
    return [_declared(value, where) for value in model.graph.inputs]


def set_inputs(model: ir.Model, fixed: FixedInputs) -> None:
    """Writes fixed input shapes into the graph, in place, and drops the output shapes, which no longer hold."""
    for value, spec in zip(model.graph.inputs, fixed.specs, strict=True):
        value.shape = ir.Shape(spec.shape)
    for value in model.graph.outputs:
        if value.const_value is not None:  # a returned weight has its own type and shape, whatever the outputs say
            value.type = ir.TensorType(value.const_value.dtype)
            value.shape = ir.Shape(value.const_value.shape.numpy())
        elif value.producer() is not None:
            value.shape = None


def unknown_operators(model: ir.Model) -> list[Finding]:
    """One finding for every node whose operator neither ONNX Runtime nor the model itself defines."""
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known: dict[tuple[str, str], int] = {}
    for schema in get_all_operator_schema():
        key = (schema.domain, schema.name)
        known[key] = min(schema.since_version, known.get(key, schema.since_version))
    defined = {(f.domain, f.name) for f in model.functions.values()}
    findings = []
    for node in _all_nodes(model):
        key = (node.domain, node.op_type)
        opset = model.graph.opset_imports.get(node.domain, 1)
        if key in defined or known.get(key, opset + 1) <= opset:
            continue
        name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        since = f" before opset {known[key]}" if key in known else ""
        findings.append(
            Finding(
                "error",
                "unknown-operator",
                f"ONNX Runtime has no operator {name}{since} (opset {opset})",
                node.name,
                node.op_type,
                "export the model with standard operators, or with the operator's definition as a model function",
            )
        )
    return findings


def _check_opset(proto: onnx.ModelProto, where: str) -> None:
    for entry in (*proto.opset_import, *(e for f in proto.functions for e in f.opset_import)):
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain
    opset = next((e.version for e in proto.opset_import if e.domain == ""), None)
    if opset is None and any(n.domain in ("", "ai.onnx") for n in proto.graph.node):
        raise ModelError(f"{where} states no opset: it is cut off or older than ONNX 1.2; export the model again")
    if opset is not None and opset < _OLDEST_OPSET:
        raise ModelError(
            f"{where} has opset {opset}, edgeport reads {_OLDEST_OPSET} and up; export the model again with a newer "
            "opset, or convert it with onnx.version_converter.convert_version(model, 13)"
        )


def _refuse_sparse(proto: onnx.ModelProto, where: str) -> None:
    names = [s.values.name or "(unnamed)" for graph in _graphs(proto.graph) for s in graph.sparse_initializer]
    nodes = [n for graph in _graphs(proto.graph) for n in graph.node] + [n for f in proto.functions for n in f.node]
    names += [n.name or n.output[0] for n in nodes for a in n.attribute if a.HasField("sparse_tensor")]
    if names:
        findings = [Finding("error", "sparse-weight", f"{name!r} is stored sparse", name) for name in names]
        raise ModelError(
            f"{where} stores {len(names)} weights sparse ({', '.join(names[:3])}); store them dense and export again",
            findings,
        )


def _drop_repeated_inputs(graph: onnx.GraphProto) -> None:
    weights = {t.name for t in graph.initializer}
    kept = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(kept)


def _drop_value_info(proto: onnx.ModelProto) -> None:
    """Drops recorded types of inner values, except those that nothing but the record can tell."""
    for graph in _graphs(proto.graph):
        opaque = {name for n in graph.node if n.domain not in ("", "ai.onnx") for name in n.output}
        kept = [value for value in graph.value_info if value.name in opaque]
        del graph.value_info[:]
        graph.value_info.extend(kept)
    for function in proto.functions:
        del function.value_info[:]


def _check_defined(model: ir.Model, where: str) -> None:
    """Refuses names that nothing defines; in a file from a working exporter there are none."""

    findings = [
        Finding("error", "undefined-input", f"nothing defines input {value.name!r}", node.name, node.op_type)
        for node in ir.traversal.RecursiveGraphIterator(model.graph)
        for value in node.inputs
        if value is not None and value.name and not _is_defined(value)
    ]
    findings += [
        Finding("error", "undefined-output", f"nothing defines output {value.name!r}")
        for graph in (model.graph, *model.graph.subgraphs())
        for value in graph.outputs
        if not _is_defined(value)
    ]
    if findings:
        raise ModelError(f"{where} is damaged: {findings[0].message}; export the model again", findings)


def _is_defined(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _sort(model: ir.Model, where: str) -> None:
    try:
        model.graph.sort()
    except ValueError as error:
        found = next(filter(None, map(_find_cycle, (model.graph, *model.graph.subgraphs()))), [])
        cycle = " -> ".join(node.name or node.op_type for node in found)
        raise ModelError(f"{where} has a cycle: {cycle}; a graph must not, so export the model again") from error


def _find_cycle(graph: ir.Graph) -> list[ir.Node]:
    """The nodes of one cycle, the first repeated at the end."""

    def sources(node: ir.Node) -> list[ir.Node]:
        inner = [v for g in node.attributes.values() for n in _nodes_of_attribute(g) for v in n.inputs]
        found = (v.producer() for v in (*node.inputs, *inner) if v is not None)
        return [n for n in found if n is not None and n.graph is graph]

    done: set[ir.Node] = set()
    for start in graph:
        path: list[ir.Node] = []
        stack = [(start, iter(sources(start)))] if start not in done else []
        path.extend(node for node, _ in stack)
        while stack:
            node, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                stack.pop()
                done.add(path.pop())
            elif following in path:
                return [*path[path.index(following) :], following][::-1]
            elif following not in done:
                stack.append((following, iter(sources(following))))
                path.append(following)
    return []


def _nodes_of_attribute(attribute: ir.Attr) -> Iterator[ir.Node]:
    if attribute.is_ref():
        return
    if attribute.type == ir.AttributeType.GRAPH:
        yield from ir.traversal.RecursiveGraphIterator(attribute.as_graph())
    elif attribute.type == ir.AttributeType.GRAPHS:
        for graph in attribute.as_graphs():
            yield from ir.traversal.RecursiveGraphIterator(graph)


def _name_nodes(model: ir.Model) -> None:
    """Gives every node a unique name, and clears what would carry another machine's paths into the output."""
    taken: set[str] = set()
    unnamed = []
    for node in _all_nodes(model):
        node.metadata_props.clear()
        node.doc_string = None
        if node.name and node.name not in taken:
            taken.add(node.name)
        else:
            unnamed.append(node)
    for index, node in enumerate(unnamed):
        name = base = node.name or node.op_type
        while name in taken:
            name, index = f"{base}_{index}", index + 1
        node.name = name
        taken.add(name)
    for graph in (model.graph, *model.graph.subgraphs()):
        graph.metadata_props.clear()
        graph.doc_string = None
    for function in model.functions.values():
        function.metadata_props.clear()
        function.doc_string = None


def _all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    yield from ir.traversal.RecursiveGraphIterator(model.graph)
    for function in model.functions.values():
        yield from ir.traversal.RecursiveGraphIterator(function)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for child in (*inner, *attribute.graphs):
                yield from _graphs(child)


def _declared(value: ir.Value, where: str) -> DeclaredInput:
    if not isinstance(value.type, ir.TensorType):
        raise ModelError(f"input {value.name!r} of {where} is no tensor; export the model with tensor inputs")
    try:
        dtype = value.type.dtype.numpy()
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "fiub" or dtype != np.dtype(dtype.name):
        raise ModelError(
            f"input {value.name!r} of {where} is {value.type.dtype.name.lower()}; only numbers can be fed, so export "
            "the model from behind it"
        )
    if value.shape is None:
        return DeclaredInput(str(value.name), dtype.name, None)
    shape = (
        d if isinstance(d, int) and d >= 0 else _symbol(getattr(d, "value", None)) or f"{value.name}_dim_{i}"
        for i, d in enumerate(value.shape)
    )
    return DeclaredInput(str(value.name), dtype.name, tuple(shape))


def _symbol(name: str | None) -> str | None:
    """The name of a dimension; paddle2onnx writes `?` for every one it does not know, equal or not."""
    return None if name == "?" else name

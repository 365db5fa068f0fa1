"""Models that no machine can run, refused before shape inference, constant folding or a kernel tries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import onnx

from edgeport.errors import ModelError

MOST_BYTES = 2**33
"""For one tensor. Files hold 2 GiB; the source may compute a little more on its way to something smaller."""
_MOST_COUNTED = 2**24
"""Elements of a Range: shape inference writes every one of them down."""
_MOST_TURNS = 10**7
_ANY_TURNS = (2**31 - 1, 2**63 - 1)
"""What exporters write for loops that a condition ends."""
_MOST_NODES = 10**6
_SMALL = 1024
"""Bytes of a constant up to which its value may matter for a shape."""

_WIDTHS = {onnx.TensorProto.DOUBLE: 8, onnx.TensorProto.INT64: 8, onnx.TensorProto.FLOAT: 4, onnx.TensorProto.INT32: 4}
"""Bytes of an element; of other types at least one."""

_Constants = dict[str, npt.NDArray[np.generic]]


def refuse_endless(proto: onnx.ModelProto, where: str) -> None:
    """Looks for tensors, loops and nested functions that grow beyond every machine, without computing any.

    Raises:
        ModelError: naming the first of them.
    """
    _check_functions(proto, where)
    _check_constants(proto.graph, {}, where)
    for name, dims, width in _sizes(proto):
        size = math.prod(dims) * width
        if size > MOST_BYTES:
            takes = f"tensor {name!r} of shape {dims} would take {size / 2**30:.3g} GiB"
            raise ModelError(f"{where}: {takes}; make the model smaller, or check the constants that say so")


def _check_constants(graph: onnx.GraphProto, outer: _Constants, where: str) -> None:
    known = dict(outer)
    for tensor in graph.initializer:
        _learn(known, tensor.name, tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value" and node.output:
                _learn(known, node.output[0], attribute.t)
        given = [known.get(name) for name in node.input]
        count = _counted(node, given)
        if count is not None:
            raise ModelError(f"{where}: {node.op_type} {node.name or node.output[0]!r} {count}; check its constants")
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _check_constants(inner, known, where)


def _learn(known: _Constants, name: str, tensor: onnx.TensorProto) -> None:
    if math.prod(tensor.dims) <= _SMALL // 8 and tensor.data_location != onnx.TensorProto.EXTERNAL:
        try:
            known[name] = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError):
            return  # damaged; refused where it is read


def _counted(node: onnx.NodeProto, given: list[npt.NDArray[np.generic] | None]) -> str | None:
    """What is wrong with a node whose constants say how much there is, None if nothing."""
    if node.op_type == "Range" and len(given) == 3 and all(g is not None and g.size == 1 for g in given):
        start, limit, delta = (float(g.reshape(-1)[0]) for g in given if g is not None)
        count = (limit - start) / delta if delta else math.inf
        return f"counts {count:.3g} elements" if not count <= _MOST_COUNTED else None
    if node.op_type in ("ConstantOfShape", "Expand", "Tile"):
        factors = given[-1] if given else None  # the shape, or how often
        if factors is not None and factors.dtype.kind in "iu":
            size = math.prod(max(1, int(d)) for d in factors.reshape(-1))
            return f"makes {size:.3g} elements or more" if size > MOST_BYTES else None
    if node.op_type == "Loop" and given and given[0] is not None and given[0].size == 1:
        turns = int(given[0].reshape(-1)[0])
        ended = len(node.input) > 1 and node.input[1] and given[1] is None  # the model itself decides when
        return f"turns {turns:.3g} times" if turns > _MOST_TURNS and turns not in _ANY_TURNS and not ended else None
    return None


def _check_functions(proto: onnx.ModelProto, where: str) -> None:
    """Functions that call functions can stand for any number of nodes."""
    bodies = {(f.domain, f.name): f.node for f in proto.functions}
    counted: dict[tuple[str, str], int] = {}

    def nodes_of(nodes: Iterable[onnx.NodeProto], path: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key not in bodies or key in path:  # recursion: ONNX Runtime refuses it with a message of its own
                total += 1
                continue
            if key not in counted:
                counted[key] = nodes_of(bodies[key], (*path, key))
            total += counted[key]
        return total

    if bodies and nodes_of(proto.graph.node, ()) > _MOST_NODES:
        raise ModelError(
            f"{where} has functions that stand for more than {_MOST_NODES:,} nodes; export a smaller model"
        )


def _sizes(proto: onnx.ModelProto) -> Iterator[tuple[str, list[int], int]]:
    """Name, shape and bytes an element of every value of the main graph whose shape follows from the model."""
    light = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import, functions=proto.functions)
    graph = light.graph
    graph.name = "g"
    graph.input.extend(proto.graph.input)
    graph.output.extend(onnx.ValueInfoProto(name=value.name) for value in proto.graph.output)
    for tensor in proto.graph.initializer:
        if tensor.ByteSize() <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(_info(tensor.name, tensor))
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.ByteSize() > _SMALL and node.attribute[0].HasField("t"):
            graph.input.append(_info(node.output[0], node.attribute[0].t))
        else:
            graph.node.append(node)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # an inconsistent model raises many types; ONNX Runtime says better what is wrong with it
        return
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            yield value.name, [dim.dim_value for dim in kind.shape.dim], _WIDTHS.get(kind.elem_type, 1)


def _info(name: str, tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))

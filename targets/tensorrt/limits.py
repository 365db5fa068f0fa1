"""What stands against a lowered graph on a board: nodes and tensors that its oldest TensorRT does not take.

Sources: docs/operators.md and docs/Changelog.md of onnx/onnx-tensorrt (see `operators.toml`) for operators, element
types and their restrictions; the TensorRT developer guide for tensors of up to eight axes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import onnx_ir as ir

from edgeport.findings import Finding
from edgeport.targets.contract import facts_of
from edgeport.targets.registry import load_profile, profile_names
from edgeport.targets.tensorrt import operators
from edgeport.targets.tensorrt.board import Board, board_of
from edgeport.targets.tensorrt.restrictions import broken
from edgeport.targets.tensorrt.version import Version

MOST_AXES = 8
"""`nvinfer1::Dims::MAX_DIMS`."""

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_INTS = frozenset({ir.DataType.INT32, ir.DataType.INT64})
_SINCE = {
    ir.DataType.UINT8: Version(8, 5),
    ir.DataType.BFLOAT16: Version(10, 0),
    ir.DataType.FLOAT8E4M3FN: Version(10, 0),
    ir.DataType.INT4: Version(10, 0),
    ir.DataType.FLOAT4E2M1: Version(10, 8),
}
"""Element types that came after 8.0."""
_KNOWN = _FLOATS | _INTS | {ir.DataType.INT8, ir.DataType.BOOL} | _SINCE.keys()
_QUANTIZED = frozenset(
    {ir.DataType.INT8, ir.DataType.INT4, ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT4E2M1, ir.DataType.UINT8}
)
"""Element types of quantized tensors, and of ends of the network; no layer calculates with them."""
_PLUGINS = frozenset({"DFT", "DeformConv", "NonZero"})
_CARRIERS = frozenset({"QuantizeLinear", "DequantizeLinear", "Cast", "CastLike"})
_WIDE = Version(10, 0)
"""Since then int64 is no longer narrowed to int32 (the first Jetson release after 8.6)."""
_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Objection:
    """What a TensorRT has against a node.

    Attributes:
        message: what it is.
        code: of the finding that it becomes.
        since: the first TensorRT that has nothing against it; None if there is none.
        advice: what to do where no newer TensorRT is the way out.
    """

    message: str
    code: str = "unsupported-variant"
    since: Version | None = None
    advice: str | None = None


def objections(model: ir.Model, board: Board) -> list[Finding]:
    """Every node, bodies of loops included, that the board's oldest TensorRT does not take.

    Args:
        model: the graph as it will be saved, of the board's opset and with known shapes.
        board: the board.

    Returns:
        errors with node, operator, reason and way out; empty if there is none.
    """
    found = []
    for node in model.graph.all_nodes():
        against = list(objections_to(node, board.oldest))
        if board.engine == "rtx" and _is_plugin(node):
            message = "TensorRT's parser makes a plugin of it, and TensorRT for RTX has no library of plugins"
            against.append(Objection(message, "unsupported-op"))
        found += [
            Finding("error", one.code, one.message, node.name, node.op_type, _way_out(one, board)) for one in against
        ]
    return found


def objections_to(node: ir.Node, version: Version) -> Iterator[Objection]:
    """What that TensorRT has against one node."""
    if node.domain not in ("", "ai.onnx"):
        yield Objection(f"operator {node.domain}::{node.op_type} is not ONNX's own", "unsupported-op")
        return
    if not operators.imports(node.op_type, version):
        message = f"the ONNX parser of TensorRT {version.major}.{version.minor} has no {node.op_type}"
        yield Objection(message, "unsupported-op", operators.first(node.op_type))
        return
    yield from _tensors(node, version)
    yield from _kind(node, version)
    for message, since in broken(node, version):
        yield Objection(message, since=since)


def _way_out(objection: Objection, board: Board) -> str:
    since = objection.since
    if since is None:
        return objection.advice or "write it in other operators, or end the model before it"
    later = f"TensorRT {since.major}.{since.minor} and later take it"
    if not board.name:
        return later
    newer = [other for other in _boards() if other.device == board.device and other.oldest >= since]
    if not newer:
        advice = "" if objection.advice is None else f"{objection.advice}: "
        return f"{advice}{later}, which no JetPack brings to {board.device}"
    return f"{later}: --profile {min(newer, key=lambda other: other.oldest).name}"


@cache
def _boards() -> tuple[Board, ...]:
    profiles = (load_profile(name) for name in profile_names())
    return tuple(board_of(facts_of(profile)) for profile in profiles if profile.target == "tensorrt")


def _is_plugin(node: ir.Node) -> bool:
    """Whether the parser makes a plugin of TensorRT's own library of it: importers of onnx-tensorrt."""
    reduction = node.attributes.get("reduction")
    reduces = reduction is not None and reduction.as_string() != "none"
    return node.op_type in _PLUGINS or (node.op_type == "ScatterElements" and reduces)


def _tensors(node: ir.Node, version: Version) -> Iterator[Objection]:
    """Element types, ranks and values of what the node reads and gives."""
    for value in (*node.inputs, *node.outputs):
        if value is None or value.dtype is None:
            continue
        dtype = value.dtype
        if dtype not in _KNOWN:
            yield Objection(f"TensorRT has no {dtype.name} tensors, such as {value.name!r}", "unsupported-dtype")
        elif dtype in _SINCE and version < _SINCE[dtype]:
            message = f"TensorRT {version.major}.{version.minor} has no {dtype.name} tensors, such as {value.name!r}"
            yield Objection(message, "unsupported-dtype", _SINCE[dtype], "have float32 or int32 instead")
        elif dtype in _QUANTIZED and node.op_type not in _CARRIERS:
            message = f"{value.name!r} is {dtype.name}: TensorRT only quantizes to it and casts from it"
            yield Objection(message, "unsupported-dtype", advice="cast it to int32 or float32 first")
        if value.shape is not None and len(value.shape) > MOST_AXES:
            yield Objection(f"{value.name!r} has {len(value.shape)} axes; TensorRT has tensors of up to {MOST_AXES}")
    if version < _WIDE:
        yield from _too_large(node)


def _too_large(node: ir.Node) -> Iterator[Objection]:
    """int64 constants that older parsers clamp; ends of slices and numbers of iterations mean the same when clamped."""
    for index, value in enumerate(node.inputs):
        if value is None or value.const_value is None or value.dtype != ir.DataType.INT64:
            continue
        if (node.op_type == "Slice" and index in (1, 2)) or (node.op_type == "Loop" and index == 0):
            continue
        data = value.const_value.numpy()
        if data.size and (data.min() < _INT32.min or data.max() > _INT32.max):
            message = f"constant {value.name!r} does not fit int32, to which TensorRT before 10 narrows int64"
            yield Objection(message, "unsupported-dtype", _WIDE)


def _kind(node: ir.Node, version: Version) -> Iterator[Objection]:
    """Whether the operator takes the element type of its data, its first input."""
    takes = operators.kinds(node.op_type, version)
    data = node.inputs[0] if node.inputs else None
    if takes is None or data is None or data.dtype is None or data.dtype in _QUANTIZED:
        return
    dtype = data.dtype
    kind = "float" if dtype in _FLOATS else "int" if dtype in _INTS else "bool" if dtype == ir.DataType.BOOL else None
    if kind is not None and kind not in takes:
        message = f"{node.op_type} of {dtype.name} data is not in TensorRT {version.major}.{version.minor}"
        yield Objection(message, "unsupported-dtype", advice=f"cast its input {data.name!r} to {takes[0]}")

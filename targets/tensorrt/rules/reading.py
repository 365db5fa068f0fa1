"""What the rules read of a model: its Q/DQ nodes with their parameters, and which of them an operand comes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.sample import Array
from edgeport.targets.tensorrt.board import Board

_QUANTIZE, _DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_OWN = {"TRT_FP8": ir.DataType.FLOAT8E4M3FN, "TRT_INT4": ir.DataType.INT4, "TRT_MXFP8": ir.DataType.FLOAT8E4M3FN}
"""NVIDIA's operators for types that ONNX did not have; the name's prefix says the type."""
_DOMAINS = ("", "com.microsoft", "trt")
_SAME = ("Identity", "Cast")
_NO_NUMBERS = (ir.DataType.STRING, ir.DataType.COMPLEX64, ir.DataType.COMPLEX128)
_MOVING = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "MaxPool", "Transpose")
"""Operators that only carry numbers around, past which TensorRT moves a DQ: its operand is quantized all the same."""


@dataclass(frozen=True)
class Quantizer:
    """One QuantizeLinear or DequantizeLinear.

    Attributes:
        node: it.
        quantizes: whether it is a Q.
        data: what it reads.
        scale: its scale.
        zero_point: its zero point, None without one.
        stored: the type of the integers (or float8); None where the file does not say.
        axis: as the node states it, None without.
        block: how many elements share a scale; 0 without blocks.
    """

    node: ir.Node
    quantizes: bool
    data: ir.Value
    scale: ir.Value
    zero_point: ir.Value | None
    stored: ir.DataType | None
    axis: int | None
    block: int

    @property
    def scales(self) -> int | None:
        """How many scales it has, None where that is not known."""
        return None if self.scale.shape is None or not self.scale.shape.is_static() else int(np.prod(dims(self.scale)))


@dataclass(frozen=True)
class Operand:
    """A quantized operand of a layer.

    Attributes:
        quantizer: the DQ that it comes through.
        source: the float (or stored) tensor before Q/DQ.
        weight: whether the source is a constant.
        permutation: axis of the operand -> axis of what the DQ gives; None where axes are reshaped on the way.
    """

    quantizer: Quantizer
    source: ir.Value
    weight: bool
    permutation: tuple[int, ...] | None


class Reading:
    """A model and a board as the rules see them; nothing in it changes.

    Attributes:
        graph: the main graph.
        board: the board.
        nodes: all nodes, those of subgraphs included, in order.
        quantizers: all Q and DQ nodes, in order.
    """

    def __init__(self, model: ir.Model, board: Board) -> None:
        self.graph = model.graph
        self.board = board
        self.opsets = dict(model.opset_imports)
        self.nodes = tuple(ir.traversal.RecursiveGraphIterator(model.graph))
        self._of: dict[ir.Node, Quantizer] = {}
        for node in self.nodes:
            found = _quantizer(node, self._of)
            if found is not None:
                self._of[node] = found
        self.quantizers = tuple(self._of.values())
        self._constants: set[ir.Value] = set()
        for node in self.nodes:
            given = [value for value in node.inputs if value is not None]
            inner = any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())
            if node.op_type == "Constant" or (given and not inner and all(map(self.is_constant, given))):
                self._constants.update(node.outputs)

    def parameters(self) -> Iterator[Quantizer]:
        """The quantizers with scales and zero points of their own: not the DQ that have those of their Q."""
        for q in self.quantizers:
            before = None if q.quantizes else self.made_by(q.data, quantizes=True)
            if before is None or before.scale is not q.scale or before.zero_point is not q.zero_point:
                yield q

    def made_by(self, value: ir.Value | None, quantizes: bool) -> Quantizer | None:
        """The Q (or DQ) that writes a value."""
        producer = None if value is None else value.producer()
        found = None if producer is None else self._of.get(producer)
        return found if found is not None and found.quantizes is quantizes else None

    def is_quantizer(self, node: ir.Node) -> bool:
        """Whether the node is a Q or a DQ."""
        return node in self._of

    def operand(self, value: ir.Value | None) -> Operand | None:
        """The quantized operand that `value` is; None where it is float."""
        permutation: tuple[int, ...] | None = None if value is None or value.shape is None else _range(value)
        while value is not None:
            dq = self.made_by(value, quantizes=False)
            if dq is not None:
                source = self.source(dq)
                return Operand(dq, source, self.is_constant(source), permutation)
            node = value.producer()
            if node is None or node.op_type not in _MOVING or not node.inputs:
                return None
            permutation = _through(node, permutation)
            value = node.inputs[0]
        return None

    def source(self, dq: Quantizer) -> ir.Value:
        """What is quantized: what the Q in front of the DQ reads, or the stored integers where there is none."""
        q = self.made_by(dq.data, quantizes=True)
        return dq.data if q is None else q.data

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value follows from constants alone, so that TensorRT knows it when it builds."""
        return value is not None and (value.const_value is not None or value in self._constants)

    def weighted(self) -> Iterator[tuple[ir.Node, Sequence[ir.Value | None]]]:
        """The layers that TensorRT runs in integers, each with its two operands (those of a Conv: data and weight)."""
        for node in self.nodes:
            if node.op_type in WEIGHTED and not node.domain and len(node.inputs) >= 2:
                yield node, node.inputs[:2]


WEIGHTED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def constant(value: ir.Value | None) -> Array | None:
    """The numbers of a constant, also behind Identity and Cast; None for everything else."""
    while value is not None:
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None:
            return None if tensor.dtype in _NO_NUMBERS else _numbers(tensor)
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type in _SAME and node.inputs else None
    return None


def _numbers(tensor: ir.TensorProtocol) -> Array:
    array: Array = tensor.numpy()
    return array


def dims(value: ir.Value) -> tuple[int, ...]:
    """The dimensions of a value, -1 where one is open; empty where nothing is known."""
    return () if value.shape is None else tuple(d if isinstance(d, int) else -1 for d in value.shape)


def attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    found = node.attributes.get(name)
    return default if found is None or found.type != ir.AttributeType.INT else found.as_int()


def label(value: ir.Value | None) -> str:
    """A tensor's name in quotes, as messages have it."""
    return repr("" if value is None else value.name or "")


def _quantizer(node: ir.Node, known: dict[ir.Node, Quantizer]) -> Quantizer | None:
    prefix = next((p for p in _OWN if node.op_type.startswith(p)), "")
    kind = node.op_type.removeprefix(prefix)
    if kind not in (_QUANTIZE, _DEQUANTIZE) or node.domain not in _DOMAINS or len(node.inputs) < 2:
        return None
    data, scale = node.inputs[:2]
    if data is None or scale is None:
        return None
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    axis = attribute(node, "axis", 1) if "axis" in node.attributes else None
    quantizes = kind == _QUANTIZE
    stored = _OWN.get(prefix) or (_written(node, zero_point) if quantizes else _read(data, zero_point, known))
    return Quantizer(node, quantizes, data, scale, zero_point, stored, axis, attribute(node, "block_size", 0))


def _written(node: ir.Node, zero_point: ir.Value | None) -> ir.DataType | None:
    if zero_point is not None:
        return _dtype(zero_point)
    declared = attribute(node, "output_dtype", 0)
    return ir.DataType(declared) if declared else None


def _read(data: ir.Value, zero_point: ir.Value | None, known: dict[ir.Node, Quantizer]) -> ir.DataType | None:
    producer = data.producer()
    if producer is not None and producer in known:
        return known[producer].stored
    return _dtype(data) or (None if zero_point is None else _dtype(zero_point))


def _dtype(value: ir.Value) -> ir.DataType | None:
    tensor = ir.convenience.get_const_tensor(value)
    return value.dtype if tensor is None else tensor.dtype


def _range(value: ir.Value) -> tuple[int, ...]:
    return tuple(range(len(dims(value))))


def _through(node: ir.Node, permutation: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if node.op_type in (*_SAME, "MaxPool") or permutation is None:
        return permutation
    if node.op_type != "Transpose":
        return None
    given = node.attributes.get("perm")
    perm = tuple(given.as_ints()) if given is not None else tuple(reversed(range(len(permutation))))
    return tuple(perm[axis] for axis in permutation) if len(perm) == len(permutation) else None

"""Plan -> quantized graph: the canonical graph with Q/DQ nodes, which ONNX Runtime runs as the simulation.

before   x ------> [Conv W b] -> [Relu] -> y --------> consumers
after    x -> Q -> DQ -> [Conv DQ(Wq) DQ(bq)] -> [Relu] -> Q -> DQ -> consumers
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.attention_parts import spell_out
from edgeport.quantize.dynamic import quantize_rows
from edgeport.quantize.groups import find_groups
from edgeport.quantize.operands import integer_inputs, integer_outputs
from edgeport.quantize.plan import INTEGERS, Compression, Plan, QParams, bias_qparams
from edgeport.quantize.planner import constant
from edgeport.quantize.scheme import Scheme
from edgeport.sample import Array

ORIGIN = "edgeport.origin"
"""Key of a stored constant's `meta` under which the float constant stands that it was made from."""
RESTORED = ":restored"
"""Ends the names of constants that hold what kernels read of palettes and sparse weights."""


def write_qdq(model: ir.Model, plan: Plan, scheme: Scheme) -> ir.Model:
    """Returns a copy of a canonical graph in which every edge that the plan quantizes goes through Q/DQ.

    Graph inputs and outputs keep their names, dtypes and shapes. Biases become int32 with scale = input scale
    * weight scale, but those of kernels that give floats stay float. fp16 weights become float16 constants behind a
    Cast; palettes and masked weights become the float constants that they restore. An Attention in integers is
    spelled out.
    """
    copy = model.clone()
    graph = copy.graph
    groups = dict.fromkeys(find_groups(graph, scheme.fusible).values())
    writer = _Writer(graph)
    made: list[ir.Value] = []
    for group in groups:
        kernel = plan.kernel(group.anchor.name)
        rule = scheme.rule(group.anchor)
        if kernel == "float32" or rule is None:
            continue
        x = None
        if kernel in INTEGERS:
            first = group.anchor.inputs[0]
            if first is not None and not rule.gives_floats:
                x = plan.qparams(first.name)
            for value in integer_inputs(group, rule):
                writer.replace(group.anchor, value, writer.round_trip(value, _qparams(plan, value)))
            if group.anchor.op_type == "Attention":
                made.append(spell_out(copy, group.anchor, lambda v: writer.round_trip(v, _qparams(plan, v))))
            else:
                made.extend(integer_outputs(group, rule))
        if kernel.endswith("-dynamic") and group.anchor.op_type == "MatMul":
            rows = group.anchor.inputs[0]
            assert rows is not None
            group.anchor.replace_input_with(0, quantize_rows(copy, group.anchor, rows, whole=not scheme.ranged_rows))
        for index in rule.weights:
            weight = group.anchor.inputs[index]
            assert weight is not None
            qparams = plan.qparams(weight.name)
            writer.replace(group.anchor, weight, _stored_weight(writer, weight, plan.compression(weight.name)))
            bias = group.bias_value
            if x is None and bias is not None and group.anchor.name in plan.shifts:
                name = f"{bias.name}:of:{group.anchor.name}"
                shifted = writer.initializer(name, plan.bias(group.anchor.name, constant(bias)))
                writer.replace(group.bias or group.anchor, bias, shifted)
            if x is not None and qparams is not None and bias is not None and bias.const_value is not None:
                name = f"{bias.name}:of:{group.anchor.name}"
                flat = plan.bias(group.anchor.name, constant(bias).reshape(-1))
                stored = writer.dequantized_constant(name, flat, bias_qparams(x, qparams), bias)
                writer.replace(group.bias or group.anchor, bias, stored)
    made.extend(value for value in graph.inputs if plan.io_qparams(value) is not None)
    for value in made:
        writer.quantize_output(value, _qparams(plan, value))
    return copy


def _qparams(plan: Plan, value: ir.Value) -> QParams:
    qparams = plan.qparams(value.name)
    assert qparams is not None, f"the plan has no parameters for {value.name}"
    return qparams


def _stored_weight(writer: _Writer, weight: ir.Value, stored: Compression | None) -> ir.Value:
    if isinstance(stored, QParams):
        return writer.dequantized_constant(weight.name or "", constant(weight), stored, weight)
    if stored is not None:
        return writer.initializer(f"{weight.name}{RESTORED}", stored.restored(constant(weight)))
    half = writer.initializer(f"{weight.name}:fp16", constant(weight).astype(np.float16))
    return writer.node("Cast", [half], f"{weight.name}:cast", to=int(ir.DataType.FLOAT))


class _Writer:
    """Adds nodes and initializers to one graph, each once; a new node stands right behind what it reads."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[str, ir.Value] = {}

    def initializer(self, name: str, array: Array) -> ir.Value:
        if name not in self._made:
            tensor = ir.tensor(array, name=name)
            value = ir.Value(
                name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            self._graph.initializers.add(value)
            self._made[name] = value
        return self._made[name]

    def node(self, op: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Value:
        if name not in self._made:
            new = ir.node(op, inputs, attributes=attributes, name=f"{name}:{op}")
            new.outputs[0].name = name
            producer = inputs[0].producer()
            if producer is not None:
                self._graph.insert_after(producer, new)
            else:
                self._graph.insert_before(self._graph[0], new)
            self._made[name] = new.outputs[0]
        return self._made[name]

    def dequantized_constant(self, name: str, array: Array, qparams: QParams, origin: ir.Value) -> ir.Value:
        """Stores `array`, made from the constant `origin`, as integers and returns its dequantized value.

        ONNX has no DequantizeLinear of int64, nor of blocks over more than one axis.
        """
        if qparams.dtype == "int64" or (qparams.block is not None and array.ndim > 2):
            return self.initializer(f"{name}:dq", qparams.restored(array))
        stored = self.initializer(f"{name}:q", _stored(qparams, qparams.quantize(array)))
        stored.meta[ORIGIN] = origin
        return self._dequantize(stored, name, qparams)

    def round_trip(self, value: ir.Value, qparams: QParams) -> ir.Value:
        """Q and DQ of a value, shared by everything that reads it as integers."""
        name = value.name or ""
        operands = [value, *self._parameters(name, qparams)]
        stored = self.node("QuantizeLinear", operands, f"{name}:q", **_axis(qparams))
        result = self._dequantize(stored, name, qparams)
        result.shape, result.type = value.shape, value.type
        return result

    def _dequantize(self, stored: ir.Value, name: str, qparams: QParams) -> ir.Value:
        operands = [stored, *self._parameters(name, qparams)]
        result = self.node("DequantizeLinear", operands, f"{name}:dq", **_axis(qparams))
        result.shape, result.type = stored.shape, ir.TensorType(ir.DataType.FLOAT)
        return result

    def _parameters(self, name: str, qparams: QParams) -> tuple[ir.Value, ir.Value]:
        return (
            self.initializer(f"{name}:scale", np.asarray(qparams.scale, np.float32)),
            self.initializer(f"{name}:zero_point", _stored(qparams, qparams.zero_point)),
        )

    def replace(self, node: ir.Node, old: ir.Value, new: ir.Value) -> None:
        """Lets `node` read `new` wherever it read `old`."""
        for i, value in enumerate(node.inputs):
            if value is old:
                node.replace_input_with(i, new)

    def quantize_output(self, value: ir.Value, qparams: QParams) -> None:
        """Sends every reader of a kernel's output, the graph's output included, through Q/DQ."""
        name = value.name or ""
        dequantized = self.round_trip(value, qparams)
        for use in list(value.uses()):
            if use.node.outputs[0].name != f"{name}:q":
                use.node.replace_input_with(use.idx, dequantized)
        for i, output in enumerate(self._graph.outputs):
            if output is value:
                value.name, dequantized.name = f"{name}:float", name
                dequantized.shape, dequantized.type = value.shape, value.type
                self._graph.outputs[i] = dequantized


def _axis(qparams: QParams) -> dict[str, int]:
    if qparams.axis is None:
        return {}
    return {"axis": qparams.axis} | ({} if qparams.block is None else {"block_size": qparams.block})


def _stored(qparams: QParams, integers: Array) -> Array:
    if qparams.dtype not in ("int4", "float8e4m3fn"):
        return integers.astype(qparams.dtype)
    import ml_dtypes

    return integers.astype(ml_dtypes.int4 if qparams.dtype == "int4" else ml_dtypes.float8_e4m3fn)

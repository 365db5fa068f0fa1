"""How Q/DQ are written for a version of TensorRT.

trt10   W (int8) -----------------------> DequantizeLinear(scale, 0) -> Conv
trt8    W (float32) -> QuantizeLinear(scale, 0) -> DequantizeLinear(scale, 0) -> Conv

TensorRT 8's parser takes no int8 initializers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.quantize.plan import Plan, QParams
from edgeport.quantize.planner import constant
from edgeport.quantize.qdq import write_qdq
from edgeport.sample import Array
from edgeport.targets.tensorrt.board import board_of
from edgeport.targets.tensorrt.plane_convolutions import plane_convolutions
from edgeport.targets.tensorrt.scheme import scheme_of_plan

_STORED = ":q"
"""Ends the names of what `write_qdq` makes of weights: `w:q` holds the integers of `w`."""


def quantized_graph(graph: ir.Model, plan: Plan) -> ir.Model:
    """Returns a copy of a canonical graph with the plan's Q/DQ in the dialect of the plan's board."""
    quantized = write_qdq(graph, plan, scheme_of_plan(plan))
    if board_of(plan.device).dialect == "trt8":
        _float_weights(quantized, graph, plan)
    plane_convolutions(quantized)
    return quantized


def _float_weights(quantized: ir.Model, graph: ir.Model, plan: Plan) -> None:
    """Puts a float32 weight and a QuantizeLinear in the place of every constant that is stored as integers."""
    for name, entry in plan.tensors.items():
        stored = quantized.graph.initializers.get(f"{name}{_STORED}")
        if entry.role != "weight" or entry.qparams is None or stored is None:
            continue
        weight = constant(graph.graph.initializers[name])
        _quantize_within(quantized.graph, name, stored, _exact(weight, entry.qparams))


def _quantize_within(graph: ir.Graph, name: str, stored: ir.Value, weight: Array) -> None:
    (use,) = stored.uses()
    dequantize = use.node
    of_floats = name
    if name in graph.initializers and not np.array_equal(constant(graph.initializers[name]), weight):
        of_floats = f"{name}:restored"
    if of_floats not in graph.initializers:
        tensor = ir.tensor(weight, name=of_floats)
        made = ir.Value(name=of_floats, shape=stored.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        graph.initializers.add(made)
    quantize = ir.node(
        "QuantizeLinear",
        [graph.initializers[of_floats], *dequantize.inputs[1:]],
        attributes=dict(dequantize.attributes),
        name=f"{stored.name}:QuantizeLinear",
    )
    del graph.initializers[stored.name or ""]
    quantize.outputs[0].name = stored.name
    quantize.outputs[0].shape, quantize.outputs[0].type = stored.shape, stored.type
    graph.insert_before(dequantize, quantize)
    dequantize.replace_input_with(0, quantize.outputs[0])


def _exact(weight: Array, qparams: QParams) -> Array:
    """The weights, or where a QuantizeLinear, which knows no narrow range, gives other integers, what those restore."""
    planned = qparams.quantize(weight)
    rank = weight.ndim
    shape = [-1 if i == qparams.axis else 1 for i in range(rank)]
    scale = qparams.scale if qparams.axis is None else qparams.scale.reshape(shape)
    same = np.array_equal(np.clip(np.rint(weight / scale), -128, 127), planned)
    return weight if same else qparams.dequantize(planned)

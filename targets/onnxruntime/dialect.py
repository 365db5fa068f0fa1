"""How a plan is written for ONNX Runtime.

activations     x -> Q(uint8) -> DQ -> ...          zero points are those of the plan + 128
dynamic         x -> DynamicQuantizeLinear -> MatMulInteger -> Cast -> Mul(scales)
int4            x -> MatMulNBits
stored          W (int8) -> Cast -> Mul(scale) -> ...      which ONNX Runtime computes once, when it loads the file
tables          ids -> Gather(W, int8) -> Cast -> Mul(Gather(scales))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, nodes, take_over
from edgeport.passes.site import Site
from edgeport.quantize.plan import INTEGERS, Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.sample import Array
from edgeport.targets.onnxruntime.blocks import blocked_product
from edgeport.targets.onnxruntime.products import products_over_rows
from edgeport.targets.onnxruntime.scheme import scheme_of_plan

_OFFSET = 128


def quantized_graph(graph: ir.Model, plan: Plan) -> ir.Model:
    """A copy of a canonical graph in which the plan is written in ONNX Runtime's words; graphs in float stay as is."""
    scheme = scheme_of_plan(plan)
    if all(part.kernel == "float32" for part in scheme.parts):
        return graph.clone()
    stored = {name: replace(node, kernel="int8-weights") for name, node in plan.nodes.items() if _dynamic(plan, name)}
    model = write_qdq(graph, replace(plan, nodes={**plan.nodes, **stored}), scheme)
    for node in nodes(model):
        kernel = plan.kernel(node.name)
        if kernel in INTEGERS or kernel in ("float32", "fp16-weights"):
            continue
        for index, value in enumerate(node.inputs):
            dequantize = None if value is None else value.producer()
            if dequantize is not None and dequantize.op_type == "DequantizeLinear":
                _store(model, node, index, dequantize, dynamic=_dynamic(plan, node.name))
    _remove_unread(model)
    products_over_rows(model)
    _unsigned(model, plan)
    return model


def _dynamic(plan: Plan, name: str | None) -> bool:
    return plan.kernel(name) == "int8-dynamic"


def _store(model: ir.Model, node: ir.Node, index: int, dequantize: ir.Node, *, dynamic: bool) -> None:
    """Replaces the DequantizeLinear between constant integers and a node that computes in floats."""
    integers, scale = (constant(value) for value in dequantize.inputs[:2])
    if integers is None or scale is None:
        return
    weight = dequantize.inputs[0]
    assert weight is not None
    site = Site(model, node)
    if weight.dtype == ir.DataType.INT4 and node.op_type == "MatMul":
        blocked_product(site, integers.astype(np.int8), scale)
    elif dynamic and node.op_type == "MatMul":
        _dynamic_product(site, weight, scale)
    elif node.op_type == "Gather" and index == 0:
        _rows(site, weight, scale)
    else:
        node.replace_input_with(index, _restored(site, weight, _beside(scale, dequantize, integers.ndim), index))


def _beside(scale: Array, dequantize: ir.Node, rank: int) -> Array:
    """Scales in the shape in which they multiply the weights."""
    if scale.ndim == 0:
        return scale
    axis = dequantize.attributes.get("axis")
    at = (1 if axis is None else axis.as_int()) % rank
    return scale.reshape([-1 if i == at else 1 for i in range(rank)])


def _restored(site: Site, weight: ir.Value, scale: Array, index: int) -> ir.Value:
    floats = site.op("Cast", [weight], f"weight{index}/float", to=int(ir.DataType.FLOAT))
    return site.op("Mul", [floats, site.constant(f"weight{index}/scale", scale)], f"weight{index}")


def _rows(site: Site, table: ir.Value, scale: Array) -> None:
    """x --> Gather(table) --> y    ==>    x --> Gather(table) --> Cast --> Mul(Gather(scales)) --> y."""
    ids = site.node.inputs[1]
    rows = site.op("Gather", [table, ids], "row")
    floats = site.op("Cast", [rows], "row/float", to=int(ir.DataType.FLOAT))
    scales: ir.Value = site.constant("row_scales", scale.reshape(-1, 1) if scale.ndim else scale)
    if scale.ndim:
        scales = site.op("Gather", [scales, ids], "row_scale")
    take_over(site.node.outputs[0], "Mul", [floats, scales])


def _dynamic_product(site: Site, weight: ir.Value, scale: Array) -> None:
    """The nodes that ONNX Runtime fuses to DynamicQuantizeMatMul; a product's neighbours share the quantized rows."""
    x = site.node.inputs[0]
    assert x is not None
    rows, step, zero = _quantized_at_run_time(site, x)
    zeros = site.constant("weight/zero_point", np.zeros(scale.shape, np.int8))
    sums = site.op("MatMulInteger", [rows, weight, zero, zeros], "sums")
    steps = site.op("Mul", [step, site.constant("weight/scale", scale)], "step")
    take_over(site.node.outputs[0], "Mul", [site.op("Cast", [sums], "sums/float", to=int(ir.DataType.FLOAT)), steps])


def _quantized_at_run_time(site: Site, x: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
    for use in x.uses():
        if use.node.op_type == "DynamicQuantizeLinear" and use.node.graph is site.node.graph:
            rows, step, zero = use.node.outputs
            return rows, step, zero
    names = [f"{x.name}/{role}" for role in ("u8", "u8_scale", "u8_zero")]
    made = [ir.Value(name=name) for name in names]
    graph = site.node.graph
    assert graph is not None
    node = ir.node("DynamicQuantizeLinear", [x], outputs=made, name=f"{x.name}/DynamicQuantizeLinear")
    graph.insert_before(site.node, node)
    return made[0], made[1], made[2]


def _remove_unread(model: ir.Model) -> None:
    """The DequantizeLinear of weights that are stored otherwise now, and their constants."""
    graph = model.graph
    for node in reversed(list(graph)):
        if node.op_type == "DequantizeLinear" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


def _unsigned(model: ir.Model, plan: Plan) -> None:
    """Activations become uint8: every number and every zero point is 128 more."""
    graph = model.graph
    shifted: dict[str, Array] = {}
    for name, entry in plan.tensors.items():
        if entry.role == "activation" and entry.qparams is not None and entry.qparams.dtype == "int8":
            shifted[f"{name}:zero_point"] = (entry.qparams.zero_point + _OFFSET).astype(np.uint8)
    _replace(graph, shifted)
    for node in graph:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = node.inputs[2] if len(node.inputs) > 2 else None
            if node.op_type == "QuantizeLinear" and zero is not None and zero.dtype is not None:
                node.outputs[0].type = ir.TensorType(zero.dtype)


def _replace(graph: ir.Graph, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        if name in graph.initializers:
            value = graph.initializers[name]
            value.const_value = ir.tensor(array, name=name)
            value.type = ir.TensorType(ir.DataType.UINT8)

"""Products with constant matrices become linear layers.

    x, W [in, out] --> MatMul [--> Add(b)] --> y        ==>     x, W^T [out, in] [, b] --> Linear --> y

`Linear` is no ONNX operator: it stands for torch's function of that name, which XNNPACK has kernels for. W may be
integers behind a DequantizeLinear.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, get_int, nodes, rank, static_shape
from edgeport.quantize.groups import sole_consumer
from edgeport.quantize.plan import Plan

LINEAR = "Linear"
DYNAMIC = "dynamic"
"""Attribute of those that quantize x at run time."""


def with_linear_layers(model: ir.Model, plan: Plan) -> None:
    """Rewrites the graph in place; the plan says which of them are dynamic."""
    made: dict[ir.Value, ir.Value] = {}
    for node in nodes(model, "MatMul"):
        x, weight = node.inputs
        if x is None or weight is None or x.dtype != ir.DataType.FLOAT or (rank(x) or 0) < 2 or rank(weight) != 2:
            continue
        if weight not in made:
            turned = _turned(model, weight)
            if turned is None:
                continue
            made[weight] = turned
        last, inputs = node, [x, made[weight]]
        add = sole_consumer(node.outputs[0])
        bias = None if add is None or add.op_type != "Add" else _bias(model, add, node)
        if add is not None and bias is not None:
            last, inputs = add, [*inputs, bias]
        dynamic = plan.kernel(node.name).endswith("-dynamic") and weight.const_value is None
        linear = ir.node(LINEAR, inputs, {DYNAMIC: 1} if dynamic else {}, name=f"{last.name}:{LINEAR}")
        model.graph.insert_after(last, linear)
        old, new = last.outputs[0], linear.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        old.name = f"{old.name}:product"
        ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        for gone in dict.fromkeys((last, node)):
            model.graph.remove(gone, safe=True)


def _turned(model: ir.Model, weight: ir.Value) -> ir.Value | None:
    """The transposed matrix, None if it is computed."""
    data = constant(weight)
    if data is not None:
        return add_initializer(model, f"{weight.name}:turned", np.ascontiguousarray(data.T))
    node = weight.producer()
    stored = None if node is None or node.op_type != "DequantizeLinear" else constant(node.inputs[0])
    if node is None or stored is None:
        return None
    axis, block = get_int(node, "axis", 1) % 2, get_int(node, "block_size", 0)
    integers = add_initializer(model, f"{weight.name}:turned", np.ascontiguousarray(stored.T))
    parameters = []
    for value, role in zip(node.inputs[1:], ("scale", "zero_point"), strict=False):
        given = constant(value)
        assert given is not None
        parameters.append(add_initializer(model, f"{weight.name}:turned_{role}", np.ascontiguousarray(given.T)))
    attributes = {"axis": 1 - axis} | ({"block_size": block} if block else {})
    turned = ir.node("DequantizeLinear", [integers, *parameters], attributes=attributes, name=f"{node.name}:turned")
    model.graph.insert_after(node, turned)
    result = turned.outputs[0]
    result.name, result.type, result.shape = f"{weight.name}:turned_back", weight.type, ir.Shape(stored.T.shape)
    return result


def _bias(model: ir.Model, add: ir.Node, product: ir.Node) -> ir.Value | None:
    """A constant of one element an output channel, as a vector; None if the Add adds something else."""
    others = [v for v in add.inputs if v is not None and v is not product.outputs[0]]
    channels = (static_shape(product.inputs[1]) or (0,))[-1]
    if len(others) != 1 or others[0].dtype != ir.DataType.FLOAT:
        return None
    value = others[0]
    data, node = constant(value), value.producer()
    if data is not None:
        shape = data.shape
        if shape[-1:] != (channels,) or any(d != 1 for d in shape[:-1]) or len(shape) > (rank(product.outputs[0]) or 0):
            return None
        return value if len(shape) == 1 else add_initializer(model, f"{value.name}:vector", data.reshape(-1))
    if node is None or node.op_type != "DequantizeLinear" or constant(node.inputs[0]) is None:
        return None
    return value if static_shape(value) == (channels,) else None

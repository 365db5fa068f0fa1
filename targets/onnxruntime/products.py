"""Products of integers as Gemm over rows, for which ONNX Runtime has one kernel with the bias in it.

    DQ(x) [B,S,K], DQ(W) --> MatMul --> Add(b) --> y
    ==>
    DQ(x) --> Reshape [B*S,K] --> Q --> DQ, DQ(W), DQ(b in int32) --> Gemm --> Reshape --> y     (QGemm)

As it stands ONNX Runtime 1.31 makes a float Gemm of the product and its bias before it looks for integers. The Reshape
moves integers. A bias beyond int32 stays a float, with axes in front that keep it out of a Gemm. Needs the shape.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import constant, nodes, take_over
from edgeport.passes.site import Site
from edgeport.quantize.groups import sole_consumer

_LARGEST = 2.0**30
"""Of a bias in int32: the sum of the product must fit beside it."""


def products_over_rows(model: ir.Model) -> None:
    """Rewrites every product of integers with a constant matrix, in place."""
    for node in nodes(model, "MatMul"):
        x, weight = (None if v is None else v.producer() for v in node.inputs[:2])
        if x is None or weight is None or {x.op_type, weight.op_type} != {"DequantizeLinear"}:
            continue
        if constant(weight.inputs[0]) is not None and constant(x.inputs[0]) is None:
            _rewrite(model, node, x, weight)


def _rewrite(model: ir.Model, node: ir.Node, x: ir.Node, weight: ir.Node) -> None:
    shape, integers = x.outputs[0].shape, constant(weight.inputs[0])
    if shape is None or not shape.is_static() or len(shape) < 2 or integers is None or integers.ndim != 2:
        return
    sizes = [int(d) for d in shape.numpy()]
    add = _bias_of(node)
    last = node if add is None else add
    site = Site(model, last)
    operands = [_rows(model, node, x, integers.shape[0]) if len(sizes) > 2 else x.outputs[0], weight.outputs[0]]
    if add is not None:
        bias = _stored(site, add, x, weight)
        if bias is None:
            _keep_apart(site, add)
            return
        operands.append(bias)
    if len(sizes) == 2:
        take_over(last.outputs[0], "Gemm", operands)
        return
    product = site.op("Gemm", operands, "rows")
    target = site.constant("shape", np.asarray([*sizes[:-1], integers.shape[1]], np.int64))
    take_over(last.outputs[0], "Reshape", [product, target])


def _bias_of(node: ir.Node) -> ir.Node | None:
    """The addition of one constant a column that is all that reads the product."""
    add = sole_consumer(node.outputs[0])
    if add is None or add.op_type != "Add":
        return None
    array = constant(add.inputs[1 - _index(add, node)])
    columns = node.inputs[1]
    if array is None or columns is None or columns.shape is None or array.dtype != np.float32:
        return None
    size = int(columns.shape.numpy()[-1])
    return add if array.shape[-1:] == (size,) and array.size == size and array.ndim <= 2 else None


def _index(add: ir.Node, node: ir.Node) -> int:
    return next(i for i, value in enumerate(add.inputs) if value is node.outputs[0])


def _rows(model: ir.Model, node: ir.Node, x: ir.Node, depth: int) -> ir.Value:
    """The operand as a matrix of integers, shared by every product that reads it."""
    name = f"{x.outputs[0].name}/rows"
    for use in x.outputs[0].uses():
        if use.node.op_type == "Reshape" and use.node.outputs[0].name == name:
            (quantize,) = use.node.outputs[0].consumers()
            (dequantize,) = quantize.outputs[0].consumers()
            return dequantize.outputs[0]
    site = Site(model, x)
    target = site.constant("rows/shape", np.asarray([-1, depth], np.int64))
    made: list[ir.Node] = []
    previous = x.outputs[0]
    for op, operands, suffix in (
        ("Reshape", [target], "/rows"),
        ("QuantizeLinear", x.inputs[1:], "/rows:q"),
        ("DequantizeLinear", x.inputs[1:], "/rows:dq"),
    ):
        value = ir.Value(name=f"{x.outputs[0].name}{suffix}", type=x.outputs[0].type)
        made.append(ir.node(op, [previous, *operands], outputs=[value], name=value.name))
        previous = value
    assert x.graph is not None
    x.graph.insert_after(x, made)
    return previous


def _stored(site: Site, add: ir.Node, x: ir.Node, weight: ir.Node) -> ir.Value | None:
    """The bias in int32 and its DequantizeLinear; None where it does not fit."""
    value = next(v for v in add.inputs if constant(v) is not None)
    array, step, scale = constant(value), constant(x.inputs[1]), constant(weight.inputs[1])
    assert array is not None, "the bias is constant"
    assert step is not None, "parameters of activations are constants"
    assert scale is not None, "and so are those of weights"
    steps = np.atleast_1d(step.astype(np.float32) * scale.astype(np.float32)).astype(np.float32)
    integers = np.rint(array.reshape(-1).astype(np.float64) / steps)
    if not np.abs(integers).max(initial=0) < _LARGEST:
        return None
    operands = [
        site.constant("bias:q", integers.astype(np.int32)),
        site.constant("bias:scale", steps if steps.size > 1 else steps.reshape(())),
        site.constant("bias:zero_point", np.zeros(steps.size if steps.size > 1 else (), np.int32)),
    ]
    attributes = {"axis": 0} if steps.size > 1 else {}
    return site.op("DequantizeLinear", operands, "bias", **attributes)


def _keep_apart(site: Site, add: ir.Node) -> None:
    index = next(i for i, value in enumerate(add.inputs) if constant(value) is not None)
    array = constant(add.inputs[index])
    assert array is not None
    add.replace_input_with(index, site.constant("bias", array.reshape(1, 1, -1)))

"""Linear layers have one form: MatMul by a constant matrix W[K, N], then Add of a constant row b[N].

    Gemm(A, B, C; alpha, beta, transA, transB)   ==>   MatMul(A', alpha * B') --> Add(beta * C)
    Add(b[1, 1, N], MatMul(x, W))                ==>   MatMul(x, W) --> Add(b[N])
    MatMul(x, W[1, K, N])                        ==>   MatMul(x, W[K, N])

Applies to every Gemm of floating point: constant B and C are transposed and scaled now; a computed A with transA and a
computed B with transB get a Transpose, a computed C a Mul by beta. A C that is not a row stays a general Add. Constant
bias of any rank, or of one element, becomes a row [N] when the product is at least two-dimensional.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    add_initializer,
    constant,
    get_float,
    get_int,
    input_of,
    insert_before,
    nodes,
    producer,
    rank,
    take_over,
)
from edgeport.passes.registry import register


@register("linear_form")
def linear_form(model: ir.Model) -> bool:
    """Brings every linear layer to its form."""
    changed = False
    for node in nodes(model, "Gemm"):
        changed |= _from_gemm(model, node)
    for node in nodes(model, "MatMul"):
        changed |= _flat_weight(model, node)
    for node in nodes(model, "Add"):
        changed |= _row_bias(model, node)
    return changed


def _from_gemm(model: ir.Model, node: ir.Node) -> bool:
    a, b, c = node.inputs[0], node.inputs[1], input_of(node, 2)
    y = node.outputs[0]
    if a is None or b is None or y.dtype is None or not y.dtype.is_floating_point():
        return False
    alpha, beta, dtype = get_float(node, "alpha", 1.0), get_float(node, "beta", 1.0), y.dtype.numpy()
    if get_int(node, "transA", 0):
        a = insert_before(node, "Transpose", [a], {"perm": [1, 0]}, name=f"{y.name}/a")
    weight = constant(b)
    if weight is not None:
        if get_int(node, "transB", 0) or alpha != 1:
            oriented = weight.T if get_int(node, "transB", 0) else weight
            b = add_initializer(model, f"{b.name}/matrix", (oriented.astype(np.float64) * alpha).astype(dtype))
    else:
        if get_int(node, "transB", 0):
            b = insert_before(node, "Transpose", [b], {"perm": [1, 0]}, name=f"{y.name}/b")
        if alpha != 1:
            factor = add_initializer(model, f"{y.name}/alpha", np.asarray(alpha, dtype))
            a = insert_before(node, "Mul", [a, factor], name=f"{y.name}/scaled", like=a)
    if c is None or beta == 0:
        take_over(y, "MatMul", [a, b])
        return True
    product = insert_before(node, "MatMul", [a, b], name=f"{y.name}/product", like=y)
    bias = constant(c)
    if bias is not None and beta != 1:
        c = add_initializer(model, f"{y.name}/bias", (bias.astype(np.float64) * beta).astype(dtype))
    elif beta != 1:
        factor = add_initializer(model, f"{y.name}/beta", np.asarray(beta, dtype))
        c = insert_before(node, "Mul", [c, factor], name=f"{y.name}/addend", like=c)
    take_over(y, "Add", [product, c])
    return True


def _flat_weight(model: ir.Model, node: ir.Node) -> bool:
    x, w = node.inputs[0], node.inputs[1]
    weight, dims = constant(w), rank(x)
    if w is None or weight is None or dims is None or weight.ndim < 3 or dims < weight.ndim:
        return False
    if any(d != 1 for d in weight.shape[:-2]):
        return False
    node.replace_input_with(1, add_initializer(model, f"{w.name}/matrix", weight.reshape(weight.shape[-2:])))
    return True


def _row_bias(model: ir.Model, node: ir.Node) -> bool:
    for index in (0, 1):
        product, b = node.inputs[index], node.inputs[1 - index]
        matmul, bias = producer(product, "MatMul"), constant(b)
        weight = None if matmul is None else constant(matmul.inputs[1])
        dims = rank(product)
        if b is None or bias is None or weight is None or weight.ndim != 2 or dims is None or dims < 2:
            continue
        size = weight.shape[1]
        if bias.ndim > dims or any(d != 1 for d in bias.shape[:-1]) or bias.size not in (1, size):
            continue
        if index == 1:
            node.replace_input_with(0, product)
        row = bias.shape == (size,)
        if not row:
            spread = np.broadcast_to(bias.reshape(-1), (size,)).copy()
            b = add_initializer(model, f"{node.outputs[0].name}/bias", spread)
        node.replace_input_with(1, b)
        return index == 1 or not row
    return False

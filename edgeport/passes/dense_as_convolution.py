"""Linear layers become 1x1 convolutions, for runtimes that give a constant matrix a tensor, and a scale, of its own.

    x[.., K] --> MatMul(W[K, N]) --> Add(b[N]) --> y[.., N]
    ==>   x --> Reshape [-1, K, 1, 1] --> Conv(W^T[N, K, 1, 1], b) --> Reshape [.., N] --> y

The weights of a convolution are part of it. Products that must stay in float (`KEEP_FLOAT`) stay as they are.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, nodes, rank, reshape_target, take_over, used_once
from edgeport.passes.fourier_matrix import KEEP_FLOAT
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("dense_as_convolution")
def dense_as_convolution(model: ir.Model) -> bool:
    """Rewrites every MatMul by a constant float32 matrix whose result has a known shape."""
    kernels: dict[ir.Value, ir.Value] = {}
    rewritten = [_rewrite(model, node, kernels) for node in nodes(model, "MatMul")]
    return any(rewritten)


def _rewrite(model: ir.Model, node: ir.Node, kernels: dict[ir.Value, ir.Value]) -> bool:
    x, weight = node.inputs
    matrix = constant(weight)
    if x is None or weight is None or matrix is None or matrix.ndim != 2 or matrix.dtype != np.float32:
        return False
    if x.const_value is not None or (rank(x) or 0) < 2 or not matrix.size or KEEP_FLOAT in node.metadata_props:
        return False
    y, bias = _with_bias(node, matrix.shape[1])
    target = reshape_target(y)
    last = y.producer()
    if target is None or last is None:
        return False
    if weight not in kernels:
        kernels[weight] = _kernel(model, weight)
    site = Site(model, last)
    rows = site.reshape(x, [-1, matrix.shape[0], 1, 1], "rows")
    inputs = [rows, kernels[weight], *([] if bias is None else [bias])]
    columns = site.op("Conv", inputs, "columns", kernel_shape=[1, 1])
    take_over(y, "Reshape", [columns, site.constant("shape", target)])
    return True


def _kernel(model: ir.Model, weight: ir.Value) -> ir.Value:
    """The matrix W[K, N] as weights [N, K, 1, 1]; they are made anew wherever they are read, not kept beside it."""
    matrix = weight.const_value
    assert matrix is not None, "its array was read"

    def turned() -> ir.TensorProtocol:
        return ir.tensor(np.ascontiguousarray(matrix.numpy().T[:, :, None, None]), name=kernel.name)

    kernel = add_initializer(model, f"{weight.name}/kernel", matrix.numpy().T[:, :, None, None])
    shape = ir.Shape((*matrix.shape.numpy()[::-1], 1, 1))
    kernel.const_value = ir.LazyTensor(turned, matrix.dtype, shape, name=kernel.name)
    return kernel


def _with_bias(node: ir.Node, width: int) -> tuple[ir.Value, ir.Value | None]:
    """What the layer gives, and its bias, shape (width,), if a constant one is added to nothing but the product."""
    y = node.outputs[0]
    user = next(iter(y.uses())).node if used_once(y) else None
    if user is None or user.op_type != "Add" or user.domain != "" or user.graph is not node.graph:
        return y, None
    bias = user.inputs[1] if user.inputs[0] is y else user.inputs[0]
    array = constant(bias)
    if array is None or array.shape != (width,):
        return y, None
    return user.outputs[0], bias

"""Products of matrices: linear, matmul."""

from __future__ import annotations

import numpy as np

from edgeport.targets.coreml.evaluator.call import Call
from edgeport.targets.coreml.evaluator.registry import Array, evaluates


@evaluates("linear")
def linear(call: Call) -> Array:
    """`x @ weight.T + bias` on the last dimension of `x`."""
    result: Array = np.matmul(call.array("x"), call.array("weight").T)
    bias = call.maybe("bias")
    return result if bias is None else result + bias


@evaluates("matmul")
def matmul(call: Call) -> Array:
    """A product of matrices, batches broadcast, either side transposed."""
    x, y = call.array("x"), call.array("y")
    x = np.swapaxes(x, -1, -2) if call.flag("transpose_x", False) else x
    y = np.swapaxes(y, -1, -2) if call.flag("transpose_y", False) else y
    product: Array = np.matmul(x, y)
    return product

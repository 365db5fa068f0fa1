"""Products with int4 weights: MatMulNBits of ONNX Runtime's own operators.

    x --> MatMul(W [K,N]) --> y    ==>    x --> MatMulNBits(B [N, K/block, block/2], scales [N * K/block]) --> y

Two weights lie in a byte, the first in its lower half, each 8 more than it is worth. Reference: MatMulNBits in
docs/ContribOperators.md of github.com/microsoft/onnxruntime.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.site import Site
from edgeport.sample import Array

ACCURACY_LEVEL = 4
"""Rows of the activations are rounded to int8, a scale a block: twice as fast as floats, and 15 dB below what int4
weights lose."""
_WHOLE = 128
"""Block in which a column with one scale is stored."""
_ZERO = 8


def blocked_product(site: Site, integers: Array, scales: Array) -> None:
    """Puts a MatMulNBits in the place of a product.

    Args:
        site: the MatMul; its first input and its output stay.
        integers: weights in [-8, 7], shape (K, N).
        scales: float32, shape (K / block, N), or (N,) for one a column.
    """
    x, y = site.node.inputs[0], site.node.outputs[0]
    depth, columns = integers.shape
    if scales.ndim == 1:
        scales = np.repeat(scales[None], -(-depth // _WHOLE), axis=0)
        block = _WHOLE
    else:
        block = depth // scales.shape[0]
    padded = np.zeros((columns, scales.shape[0] * block), np.int8)
    padded[:, :depth] = integers.T
    stored = (padded.reshape(columns, -1, block) + _ZERO).astype(np.uint8)
    packed = stored[..., 0::2] | stored[..., 1::2] << 4
    node = ir.Node(
        "com.microsoft",
        "MatMulNBits",
        [x, site.constant("int4", packed), site.constant("scales", np.ascontiguousarray(scales.T).reshape(-1))],
        ir.convenience.convert_attributes(
            {"K": depth, "N": columns, "bits": 4, "block_size": block, "accuracy_level": ACCURACY_LEVEL}
        ),
        outputs=[ir.Value(name=site.name("product"), type=y.type, shape=y.shape)],
        name=site.node.name,
        version=1,
    )
    graph = site.node.graph
    assert graph is not None
    graph.insert_before(site.node, node)
    name, made = y.name, node.outputs[0]
    y.name = None
    y.replace_all_uses_with(made, replace_graph_outputs=True)
    made.name = name
    graph.remove(site.node, safe=True)
    site.model.opset_imports.setdefault("com.microsoft", 1)

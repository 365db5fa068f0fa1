"""AffineGrid is a product of constant points with the transformation.

    theta [N,2,3] --> AffineGrid([N,C,H,W]) --> y    ==>    theta --> Transpose --+
                                                            points [H*W,3] ----> MatMul --> Reshape([N,H,W,2]) --> y

Applies where the size is constant; with align_corners no side may have length 1, for which the specification divides
by zero. ONNX operator AffineGrid-20.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import Array, get_int, ints, nodes, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_affine_grid")
def expand_affine_grid(model: ir.Model) -> bool:
    """Expands every AffineGrid of constant size."""
    changed = False
    for node in nodes(model, "AffineGrid"):
        theta, size = node.inputs[0], ints(node.inputs[1])
        aligned = bool(get_int(node, "align_corners", 0))
        if theta is None or theta.dtype != ir.DataType.FLOAT or size is None or len(size) not in (4, 5):
            continue
        if aligned and 1 in size[2:]:
            continue
        site, axes = Site(model, node), len(size) - 2
        points = site.constant("points", _points(size[2:], aligned))
        turned = site.op("Transpose", [theta], "turned", perm=[0, 2, 1])
        product = site.op("MatMul", [points, turned], "product")
        shape = site.constant("shape", np.asarray([size[0], *size[2:], axes], np.int64))
        take_over(node.outputs[0], "Reshape", [product, shape])
        changed = True
    return changed


def _points(size: Sequence[int], aligned: bool) -> Array:
    """[points, axes + 1] float32: homogeneous coordinates, the last axis of the image first."""
    lines = [np.linspace(-1, 1, n) if aligned else (2 * np.arange(n) + 1) / n - 1 for n in size]
    grid = np.meshgrid(*lines, indexing="ij")
    return np.stack([*(g.reshape(-1) for g in reversed(grid)), np.ones(grid[0].size)], -1).astype(np.float32)

"""Det becomes sums of products, one row after the other.

    M[S] over the first k rows and the columns S  =  sum over j in S of (+ or -) a[k, j] * M[S without j]

This is Laplace's expansion along the last row, all minors of a size at once: two Gathers and a Mul a term, n terms a
row. Its 2^n minors stay few for the small matrices that models have. Applies up to 6 x 6, where pivoting is not missed.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import nodes, static_shape, take_over
from edgeport.passes.registry import register
from edgeport.passes.site import Site

_LARGEST = 6


@register("expand_det")
def expand_det(model: ir.Model) -> bool:
    """Rewrites the determinant of every small square matrix."""
    changed = False
    for node in nodes(model, "Det"):
        x = node.inputs[0]
        shape = static_shape(x)
        if x is None or shape is None or len(shape) < 2 or shape[-1] != shape[-2] or not 0 < shape[-1] <= _LARGEST:
            continue
        take_over(node.outputs[0], "Squeeze", _determinant(Site(model, node), x, shape[-1]))
        changed = True
    return changed


def _determinant(site: Site, x: ir.Value, size: int) -> list[ir.Value]:
    """The minors of the whole matrix, of which there is one, and the axis on which it lies."""
    minors = _row(site, x, 0)
    subsets: list[tuple[int, ...]] = [(j,) for j in range(size)]
    for k in range(1, size):
        row, larger = _row(site, x, k), list(itertools.combinations(range(size), k + 1))
        total: ir.Value | None = None
        for t in range(k, -1, -1):  # from the last column of each subset, whose sign is +
            columns = site.constant(f"row{k}/{t}/columns", np.asarray([s[t] for s in larger], np.int64))
            rest = [subsets.index((*s[:t], *s[t + 1 :])) for s in larger]
            places = site.constant(f"row{k}/{t}/places", np.asarray(rest, np.int64))
            factors = [
                site.op("Gather", [row, columns], f"row{k}/{t}/elements", axis=-1),
                site.op("Gather", [minors, places], f"row{k}/{t}/minors", axis=-1),
            ]
            term = site.op("Mul", factors, f"row{k}/{t}")
            plus = (k - t) % 2 == 0
            total = term if total is None else site.op("Add" if plus else "Sub", [total, term], f"row{k}/sum{t}")
        assert total is not None
        minors, subsets = total, larger
    return [minors, site.constant("axis", np.asarray([-1], np.int64))]


def _row(site: Site, x: ir.Value, number: int) -> ir.Value:
    return site.op("Gather", [x, site.constant(f"row{number}", np.asarray(number, np.int64))], f"line{number}", axis=-2)

"""DFT becomes a product with its matrix.

    DFT(x [.., n, 1 or 2])     ==>     Reshape [.., n * parts] --> MatMul(M) --> Reshape [.., k, 2]

Applies to a constant axis and length, forward and inverse, one-sided or not, as long as the matrix has at most 2^24
elements. Another axis than the last of the signal is moved there and back. Mobile runtimes have no DFT of every length,
while matrix products are what they do best.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import constant, get_int, input_of, ints, nodes, rank, take_over
from edgeport.passes.fourier_matrix import LARGEST, Transform, fourier_matrix, marked
from edgeport.passes.registry import register
from edgeport.passes.site import Site


@register("expand_dft")
def expand_dft(model: ir.Model) -> bool:
    """Rewrites every DFT of known length."""
    changed = False
    for node in nodes(model, "DFT"):
        x, dims = node.inputs[0], rank(node.inputs[0])
        axis = [-2] if input_of(node, 2) is None else ints(input_of(node, 2))
        if x is None or x.shape is None or dims is None or dims < 2 or axis is None or len(axis) != 1:
            continue
        position = axis[0] % dims
        transform = _transform(node, x.shape, position)
        if transform is None or transform.size > LARGEST or position == dims - 1:
            continue
        shape = [d if isinstance(d, int) else -1 for d in x.shape]
        if shape.count(-1) <= 1 and 0 not in shape:
            _expand(Site(model, node), x, shape, position, transform)
            changed = True
    return changed


def _transform(node: ir.Node, shape: ir.Shape, axis: int) -> Transform | None:
    size, parts = shape[axis], shape[-1]
    inverse, onesided = bool(get_int(node, "inverse", 0)), bool(get_int(node, "onesided", 0))
    if not isinstance(size, int) or parts not in (1, 2) or (onesided and (parts == 2) != inverse):
        return None
    half = inverse and onesided
    length = 2 * (size - 1) if half else size
    given = input_of(node, 1)
    if given is not None:
        known = constant(given)
        if known is None or known.size != 1:
            return None
        length = int(known.reshape(-1)[0])
    if length < 1:
        return None
    return Transform(length, min(size, length // 2 + 1 if half else length), parts == 2, inverse, onesided)


def _expand(site: Site, x: ir.Value, shape: list[int], axis: int, transform: Transform) -> None:
    last = len(shape) - 2
    order = [*(a for a in range(last + 1) if a != axis), axis, last + 1]
    value = x
    if transform.read < shape[axis]:
        limits = [site.constant(role, [n]) for role, n in (("start", 0), ("end", transform.read), ("axis", axis))]
        value = site.op("Slice", [value, *limits], "read")
    if axis != last:
        value = site.op("Transpose", [value], "moved", perm=order)
    outer = [shape[a] for a in order[:-2]]
    flat = site.reshape(value, [*outer, transform.read * transform.parts_in], "flat")
    product = marked(site.op("MatMul", [flat, site.constant("matrix", fourier_matrix(transform))], "product"))
    result = site.reshape(product, [*outer, transform.results, transform.parts_out], "parts")
    if axis != last:
        back = [order.index(a) for a in range(len(order))]
        take_over(site.node.outputs[0], "Transpose", [result], {"perm": back})
    else:
        take_over(site.node.outputs[0], "Identity", [result])

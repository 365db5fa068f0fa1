"""Abstract evaluation of shape arithmetic: the elements of a small integer vector, as far as dimensions are known.

Shape(x) of x[N, 12, 64] is ("N", 12, 64); Gather(., 1) of it is (12,) although N is unknown.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import constant, get_int, input_of, ints, rank

Elements = tuple[int | str | None, ...]
"""Numbers, names of symbolic dimensions, or None for an unnamed dimension. All that is not a number is a dimension."""
_LIMIT = 64  # elements; shapes are short, anything longer is data


def known_elements(value: ir.Value | None, memo: dict[ir.Value, Elements | None]) -> Elements | None:
    """Elements of an integer tensor in row-major order.

    Args:
        value: the tensor; rank 0 or 1 for everything but constants.
        memo: results so far, shared between calls on an unchanged graph.

    Returns:
        One entry an element, or None when not even their number is known.
    """
    if value is None:
        return None
    if value not in memo:
        memo[value] = None  # ends the recursion on a cyclic graph
        memo[value] = _evaluate(value, memo)
    return memo[value]


def _evaluate(value: ir.Value, memo: dict[ir.Value, Elements | None]) -> Elements | None:
    array = constant(value)
    if array is not None:
        return tuple(int(i) for i in array.reshape(-1)) if array.dtype.kind in "iu" and array.size <= _LIMIT else None
    node = value.producer()
    if node is None or node.domain != "":
        return None
    match node.op_type:
        case "Shape":
            return _shape(node)
        case "Size":
            return _size(node)
        case "Identity" | "Unsqueeze" | "Squeeze":
            return known_elements(node.inputs[0], memo)
        case "Cast":
            integer = value.dtype in (ir.DataType.INT64, ir.DataType.INT32)
            return known_elements(node.inputs[0], memo) if integer else None
        case "Reshape":
            return known_elements(node.inputs[0], memo) if (rank(value) or 0) <= 1 else None
        case "Gather":
            return _gather(node, memo)
        case "Slice":
            return _slice(node, memo)
        case "Concat":
            return _concat(node, memo)
    return None


def _shape(node: ir.Node) -> Elements | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    dims = tuple(d if isinstance(d, int) else d.value for d in x.shape)
    end = get_int(node, "end", len(dims))
    return dims[get_int(node, "start", 0) : end]


def _size(node: ir.Node) -> Elements | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    total: int | None = 1
    for d in x.shape:
        total = total * d if total is not None and isinstance(d, int) else None
    return (total,)


def _gather(node: ir.Node, memo: dict[ir.Value, Elements | None]) -> Elements | None:
    data, index = known_elements(node.inputs[0], memo), ints(node.inputs[1])
    if data is None or index is None or rank(node.inputs[0]) != 1:
        return None
    return tuple(data[i] for i in index) if all(-len(data) <= i < len(data) for i in index) else None


def _slice(node: ir.Node, memo: dict[ir.Value, Elements | None]) -> Elements | None:
    data, starts, ends = known_elements(node.inputs[0], memo), ints(input_of(node, 1)), ints(input_of(node, 2))
    steps = ints(input_of(node, 4)) if input_of(node, 4) is not None else [1]
    if data is None or starts is None or ends is None or steps is None or rank(node.inputs[0]) != 1:
        return None
    if len(starts) != 1 or steps[0] <= 0:
        return None
    start, end = (max(i + len(data), 0) if i < 0 else i for i in (starts[0], ends[0]))
    return data[start : end : steps[0]]


def _concat(node: ir.Node, memo: dict[ir.Value, Elements | None]) -> Elements | None:
    joined: list[int | str | None] = []
    for part in node.inputs:
        elements = known_elements(part, memo)
        if elements is None or rank(part) != 1:
            return None
        joined.extend(elements)
    return tuple(joined) if len(joined) <= _LIMIT else None

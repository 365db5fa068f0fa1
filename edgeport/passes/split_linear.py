"""A linear layer whose result is only cut into pieces becomes one layer a piece.

    x --> MatMul(W[64, 192]) --> Add(b) --> Reshape([1, 65, 3, 4, 16]) --> Transpose(2, 0, 3, 1, 4) --> Slice 0, 1, 2
    ==>   x --> MatMul(W[:, :64]) --> Add(b[:64]) --> Reshape([1, 65, 1, 4, 16]) --> Transpose(2, 0, 3, 1, 4), and so on

The fused query, key and value of most transformers, and gated units. Nothing is copied to cut, and in integers every
piece has a scale of its own. Reshape and Transpose may be absent; the cut is along the dimension that leads the layer's
outputs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    Array,
    add_initializer,
    constant,
    get_int,
    get_ints,
    input_of,
    insert_before,
    ints,
    nodes,
    rank,
    static_shape,
    sweep,
    used_once,
)
from edgeport.passes.registry import register

_MOST_PIECES, _NARROWEST = 4, 8
"""Beyond these, products become too thin to be fast."""


class _Cut(NamedTuple):
    """The piece [first, last) of the leading output dimension, and the value that holds it."""

    first: int
    last: int
    value: ir.Value


class _Way(NamedTuple):
    """From the layer's output to where it is cut."""

    lead: tuple[int, ...]
    """Dimensions in front of the layer's outputs."""
    fine: tuple[int, ...]
    """The layer's outputs as the Reshape splits them; the first is what is cut."""
    perm: list[int] | None
    cut: ir.Value
    axis: int
    """Of `cut`, along which it is cut."""


@register("split_linear")
def split_linear(model: ir.Model) -> bool:
    """Splits every such layer."""
    changed = False
    for matmul in nodes(model, "MatMul"):
        w, weight = matmul.inputs[1], constant(matmul.inputs[1])
        if w is None or weight is None or weight.ndim != 2 or not used_once(matmul.outputs[0]) or not used_once(w):
            continue
        ((after, _),) = matmul.outputs[0].uses()
        bias = constant(after.inputs[1]) if after.op_type == "Add" and after.domain == "" else None
        if bias is not None and bias.shape != weight.shape[1:]:
            bias = None
        way = _way(matmul.outputs[0] if bias is None else after.outputs[0])
        cuts = None if way is None else _cuts(way)
        if way is None or cuts is None:
            continue
        for cut in cuts:
            _write(model, matmul, weight, bias, way, cut)
        changed = True
    return changed


def _way(y: ir.Value) -> _Way | None:
    shape = static_shape(y)
    if shape is None or y.is_graph_output():
        return None
    lead, fine, perm, cut = shape[:-1], shape[-1:], None, y
    reshape = _reader(cut, "Reshape")
    if reshape is not None:
        finer = static_shape(reshape.outputs[0])
        if finer is None or finer[: len(lead)] != lead or len(finer) == len(lead):
            return None
        cut, fine = reshape.outputs[0], finer[len(lead) :]
    transpose = _reader(cut, "Transpose")
    if transpose is not None:
        perm = get_ints(transpose, "perm")
        if perm is None:
            return None
        cut = transpose.outputs[0]
    if cut.is_graph_output():
        return None
    return _Way(lead, fine, perm, cut, len(lead) if perm is None else perm.index(len(lead)))


def _reader(value: ir.Value, op_type: str) -> ir.Node | None:
    if not used_once(value):
        return None
    ((reader, _),) = value.uses()
    return reader if reader.op_type == op_type and reader.domain == "" else None


def _cuts(way: _Way) -> list[_Cut] | None:
    """The pieces if everything that reads the value cuts it there, and no two overlap."""
    size, width = way.fine[0], int(np.prod(way.fine[1:]))
    cuts: list[_Cut] = []
    for reader, index in way.cut.uses():
        found = _pieces(reader, way.axis, size) if index == 0 and reader.domain == "" else None
        if found is None:
            return None
        cuts.extend(found)
    cuts.sort(key=lambda cut: cut.first)
    if any(cut.first < before.last for before, cut in pairwise(cuts)):
        return None
    thin = any((cut.last - cut.first) * width < _NARROWEST for cut in cuts)
    return cuts if 2 <= len(cuts) <= _MOST_PIECES and not thin else None


def _pieces(reader: ir.Node, axis: int, size: int) -> list[_Cut] | None:
    dims = rank(reader.inputs[0])
    if dims is None:
        return None
    if reader.op_type == "Split" and get_int(reader, "axis", 0) % dims == axis:
        widths = [static_shape(output) for output in reader.outputs]
        if any(shape is None for shape in widths):
            return None
        ends = np.cumsum([shape[axis] for shape in widths if shape is not None]).tolist()
        return [_Cut(first, last, y) for first, last, y in zip([0, *ends], ends, reader.outputs, strict=False)]
    if reader.op_type == "Slice":
        starts, ends, axes, steps = (ints(input_of(reader, i)) for i in (1, 2, 3, 4))
        if starts is None or ends is None or axes is None or [a % dims for a in axes] != [axis]:
            return None
        if input_of(reader, 4) is not None and steps != [1]:
            return None
        first, last, _ = slice(starts[0], ends[0]).indices(size)
        return [_Cut(first, last, reader.outputs[0])] if first < last else None
    index = constant(input_of(reader, 1)) if reader.op_type == "Gather" else None
    if index is None or index.size != 1 or get_int(reader, "axis", 0) % dims != axis:
        return None
    first = int(index.reshape(()))
    first += size if first < 0 else 0
    return [_Cut(first, first + 1, reader.outputs[0])] if 0 <= first < size else None


def _write(model: ir.Model, matmul: ir.Node, weight: Array, bias: Array | None, way: _Way, cut: _Cut) -> None:
    y, reader = cut.value, cut.value.producer()
    assert reader is not None, "a piece is cut by a node"
    width = int(np.prod(way.fine[1:]))
    columns = slice(cut.first * width, cut.last * width)
    dtype = matmul.outputs[0].type

    def made(
        op_type: str, inputs: list[ir.Value | None], role: str, shape: tuple[int, ...], perm: list[int] | None = None
    ) -> ir.Value:
        attributes = None if perm is None else {"perm": perm}
        value = insert_before(reader, op_type, inputs, attributes, name=f"{y.name}/{role}")
        value.type, value.shape = dtype, ir.Shape(shape)
        return value

    flat = (*way.lead, columns.stop - columns.start)
    part = add_initializer(model, f"{y.name}/weight", weight[:, columns])
    out = made("MatMul", [matmul.inputs[0], part], "product", flat)
    if bias is not None:
        out = made("Add", [out, add_initializer(model, f"{y.name}/bias", bias[columns])], "linear", flat)
    shape = (*way.lead, cut.last - cut.first, *way.fine[1:])
    out = made("Reshape", [out, _target(model, y, shape)], "fine", shape)
    if way.perm is not None:
        shape = tuple(shape[axis] for axis in way.perm)
        out = made("Transpose", [out], "moved", shape, way.perm)
    after = tuple(d for i, d in enumerate(shape) if i != way.axis) if rank(y) != len(shape) else shape
    name, y.name = y.name, None
    assert name is not None, "values are named"
    last = insert_before(reader, "Reshape", [out, _target(model, out, after)], name=name, like=y)
    y.replace_all_uses_with(last, replace_graph_outputs=True)
    sweep(reader)


def _target(model: ir.Model, like: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    return add_initializer(model, f"{like.name}/shape", np.asarray(shape, np.int64))

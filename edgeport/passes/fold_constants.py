"""What depends on constants only is computed now.

    Shape(x) --> Gather(0) --> Unsqueeze --> Concat([.., -1]) --> Reshape(x)     ==>     Reshape(x, [1, 12, 64])

Applies to every node of the standard domain whose inputs are all constants, to arithmetic on known dimensions, and to
the target of Reshape and Expand when the output's shape is known (for Reshape symbolic dimensions are written 0 or -1).
Shape inference and folding alternate until nothing changes, so the shape arithmetic of dynamic-batch exports disappears
once the dimensions are fixed. If with a constant condition becomes the branch taken.

Not folded: random operators, operators with subgraphs, (de)quantization, strings, what ONNX Runtime cannot run, and
results over 1 MB that are more than twice as large as the constants they come from (a broadcast weight would
blow up the file); those stay as they are unless they only feed something smaller.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from edgeport.passes.edit import (
    Array,
    add_initializer,
    constant,
    get_int,
    insert_before,
    ints,
    nodes,
    reshape_target,
    static_shape,
    sweep,
)
from edgeport.passes.evaluate import evaluate
from edgeport.passes.infer_shapes import infer_shapes
from edgeport.passes.inline_if import inline_constant_ifs
from edgeport.passes.registry import register
from edgeport.passes.shape_elements import Elements, known_elements

_NEVER = frozenset(
    {
        "Bernoulli",
        "Constant",
        "DequantizeLinear",
        "Dropout",
        "DynamicQuantizeLinear",
        "Multinomial",
        "QuantizeLinear",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)
_LARGE = 1 << 20  # bytes; a folded result below this never matters for the file
_HUGE = 1 << 28  # bytes; not even computed on the way to something smaller


@register("fold_constants")
def fold_constants(model: ir.Model) -> bool:
    """Computes constant subgraphs until nothing changes."""
    changed = False
    while _fold_shapes(model) | _fold_regions(model) | inline_constant_ifs(model):
        changed = True
        infer_shapes(model)
    return changed


def _fold_shapes(model: ir.Model) -> bool:
    """Values of shape arithmetic whose every element follows from known dimensions."""
    changed = False
    memo: dict[ir.Value, Elements | None] = {}
    for node in nodes(model):
        if node.op_type in ("Reshape", "Expand"):
            changed |= _fold_target(model, node, memo)
        if node.op_type == "Range":
            changed |= _scalar_limits(model, node)
        if node.op_type in ("Shape", "Size", "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Reshape"):
            elements = known_elements(node.outputs[0], memo)
            value = node.outputs[0]
            if elements is None or value.dtype not in _INTEGER:
                continue
            dims, numbers = static_shape(value), [e for e in elements if isinstance(e, int)]
            if dims is None or not math.prod(dims) == len(elements) == len(numbers):
                continue
            array = np.asarray(numbers, value.dtype.numpy()).reshape(dims)
            changed |= _make_constant(model, value, array)
    return changed


_INTEGER = (ir.DataType.INT64, ir.DataType.INT32)


def _fold_target(model: ir.Model, node: ir.Node, memo: dict[ir.Value, Elements | None]) -> bool:
    """Reshape and Expand to a shape that is known: the target becomes a constant."""
    y, old = node.outputs[0], node.inputs[1]
    known, dims = ints(old), reshape_target(y)
    if dims is None and known is None and node.op_type == "Reshape":
        dims = _symbolic_target(node, known_elements(old, memo))
    if dims is None or known == dims.tolist() or (node.op_type == "Expand" and (known is not None or -1 in dims)):
        return False
    if known is not None and -1 in dims:
        return False
    node.replace_input_with(1, add_initializer(model, f"{y.name}/shape", dims))
    sweep(None if old is None else old.producer())
    return True


def _symbolic_target(node: ir.Node, elements: Elements | None) -> Array | None:
    """Target of a Reshape with symbolic dimensions: 0 copies the one at the same place, -1 stands for one other."""
    x = node.inputs[0]
    if elements is None or x is None or x.shape is None or get_int(node, "allowzero", 0) or 0 in elements:
        return None
    target: list[int] = []
    for i, element in enumerate(elements):
        here = x.shape[i] if i < len(x.shape) else None
        same = isinstance(here, ir.SymbolicDim) and here.value is not None and here.value == element
        target.append(element if isinstance(element, int) else 0 if same else -1)
    return np.asarray(target, np.int64) if target.count(-1) <= 1 else None


def _scalar_limits(model: ir.Model, node: ir.Node) -> bool:
    """Range wants scalars; ONNX Runtime takes vectors of one element only as long as it doesn't know their shape."""
    changed = False
    for index, value in enumerate(node.inputs):
        array = constant(value)
        if value is not None and array is not None and array.size == 1 and array.ndim:
            node.replace_input_with(index, add_initializer(model, f"{value.name}/scalar", array.reshape(())))
            changed = True
    return changed


def _fold_regions(model: ir.Model) -> bool:
    """The main graph and every branch and body: an If inside of an If may wait for a constant of its branch."""
    changed = False
    for graph in (model.graph, *tuple(model.graph.subgraphs())):
        changed |= _fold_region(model, graph)
    return changed


def _fold_region(model: ir.Model, graph: ir.Graph) -> bool:
    """One run of everything in a graph that depends on constants only."""
    region: dict[ir.Node, int] = {}  # node -> bytes of the constants behind it
    for node in graph:
        if node.op_type in _NEVER or node.domain != "" or not node.inputs:
            continue
        if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
            continue
        sizes = [_bytes_behind(value, region) for value in node.inputs if value is not None]
        behind = None if None in sizes else sum(size for size in sizes if size is not None)
        if behind is not None and all((_bytes(output) or 0) <= _HUGE for output in node.outputs):
            region[node] = behind
    wanted = _frontier(region)
    done = evaluate(model, list(region), wanted)
    changed = False
    for value, array in done.items():
        changed |= _make_constant(model, value, array)
    return changed


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _frontier(region: dict[ir.Node, int]) -> list[ir.Value]:
    """Results read from outside the region. Takes nodes with too large results out of the region."""
    while True:
        wanted = [
            output
            for node in region
            for output in node.outputs
            if output.is_graph_output() or any(user not in region for user in output.consumers())
        ]
        blown_up = [v for v in wanted if (size := _bytes(v) or 0) > _LARGE and size > 2 * region[_producer(v)]]
        if not blown_up:
            return wanted
        for value in blown_up:
            region.pop(_producer(value), None)


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None, "results of a region are computed"
    return node


def _bytes_behind(value: ir.Value, region: dict[ir.Node, int]) -> int | None:
    array = constant(value)
    if array is not None:
        return array.nbytes
    node = value.producer()
    return None if node is None else region.get(node)


def _bytes(value: ir.Value) -> int | None:
    dims = static_shape(value)
    return None if dims is None or value.dtype is None else math.ceil(math.prod(dims) * value.dtype.itemsize)


def _make_constant(model: ir.Model, old: ir.Value, array: Array) -> bool:
    """`old` becomes an initializer of the same name; a graph output reads it through an Identity."""
    node = _producer(old)
    assert old.name is not None
    if old.is_graph_output():
        if node.op_type == "Identity" and constant(node.inputs[0]) is not None:
            return False
        new = add_initializer(model, f"{old.name}/value", array)
        output = insert_before(node, "Identity", [new], name=old.name, like=old)
        old.replace_all_uses_with(output, replace_graph_outputs=True)
    elif old.uses():
        old.replace_all_uses_with(add_initializer(model, old.name, array))
    else:
        return False
    sweep(node)
    return True

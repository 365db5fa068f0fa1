"""Arithmetic on small integers computes in int32, or in float32 where an operator takes floats only.

    a int8, b int8 --> Add --> y int8    ==>    a, b --> Cast(int32) --> Add --> Cast(int8) --> y

TensorRT calculates with no 8-bit integer. Every 8- and 16-bit integer is exact in both, and the last Cast wraps as the
arithmetic does. Operators that move or compare booleans, which it often does not, are rewritten likewise. Left alone:
what belongs to quantization (its integers come from a QuantizeLinear or go to a DequantizeLinear), casts, and control
flow.
"""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import add_initializer, constant, nodes
from edgeport.passes.registry import register

_SMALL = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)
_IN_FLOATS = frozenset({"MaxPool", "Relu", "ArgMax", "ArgMin", "Resize", "ReverseSequence", "TopK"})
"""Their kernels take floats."""
_OF_NUMBERS = frozenset(
    {
        "DepthToSpace",
        "Equal",
        "Gather",
        "GatherElements",
        "GatherND",
        "Pad",
        "ReduceMax",
        "ReduceMin",
        "ReverseSequence",
    }
    | {"Resize", "ScatterElements", "ScatterND", "SpaceToDepth"}
)
"""ONNX has them of booleans, too, at least in its newer opsets; many kernels take numbers only."""
_LEFT = frozenset(
    {"Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "Loop", "Scan", "If", "Constant", "BitShift"}
)


@register("widen_integers")
def widen_integers(model: ir.Model) -> bool:
    """Widens every such node."""
    changed = False
    for node in nodes(model):
        if node.op_type not in _LEFT and not _is_quantized(node):
            changed |= _widen(model, node)
    return changed


def _is_quantized(node: ir.Node) -> bool:
    made = (value.producer() for value in node.inputs if value is not None)
    if any(maker is not None and maker.op_type == "QuantizeLinear" for maker in made):
        return True
    return any(user.node.op_type == "DequantizeLinear" for value in node.outputs for user in value.uses())


def _widen(model: ir.Model, node: ir.Node) -> bool:
    small = (*_SMALL, ir.DataType.BOOL) if node.op_type in _OF_NUMBERS else _SMALL
    wide = ir.DataType.FLOAT if node.op_type in _IN_FLOATS else ir.DataType.INT32
    graph = node.graph
    assert graph is not None
    changed = False
    for index, value in enumerate(node.inputs):
        if value is not None and value.dtype in small:
            name = f"{node.outputs[0].name}/wide{index}"
            data = constant(value)
            if data is not None:  # TensorRT takes 8-bit constants for quantized ones and casts none
                node.replace_input_with(index, add_initializer(model, name, data.astype(wide.numpy())))
                changed = True
                continue
            new = ir.node("Cast", [value], {"to": int(wide)}, name=f"{name}/Cast")
            new.outputs[0].name, new.outputs[0].type, new.outputs[0].shape = name, ir.TensorType(wide), value.shape
            graph.insert_before(node, new)
            node.replace_input_with(index, new.outputs[0])
            changed = True
    for value in node.outputs:
        if value.dtype in small and value.name and node.op_type != "Equal":
            _narrowed(node, value, wide)
            changed = True
    return changed


def _narrowed(node: ir.Node, value: ir.Value, wide: ir.DataType) -> None:
    """The wide result under another name; a Cast gives the value its readers know."""
    name, narrow = value.name, value.dtype
    assert narrow is not None
    assert node.graph is not None
    cast = ir.node("Cast", [value], {"to": int(narrow)}, name=f"{name}/Cast")
    result = cast.outputs[0]
    result.type, result.shape = value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    cast.replace_input_with(0, value)
    value.name, result.name = f"{name}/wide", name
    value.type = ir.TensorType(wide)
    node.graph.insert_after(node, cast)

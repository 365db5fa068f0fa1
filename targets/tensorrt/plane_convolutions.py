"""Quantized convolutions over one axis, written over two.

    x [N, C, L] --> Q --> DQ --> Conv <-- DQ(w [M, C, K])
    x --> Unsqueeze --> Q --> DQ --> Conv <-- DQ(w [M, C, K, 1]) --> Squeeze

TensorRT has no others. Its parsers add the axis themselves where weights are constants; those of TensorRT 8 do not
where weights come from a DequantizeLinear, and an Unsqueeze between the two would keep them from being fused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.passes.convolve_in_2d import attributes_in_2d
from edgeport.passes.edit import Attribute, add_initializer, constant, insert_before, producer, take_over

_PLANE = ":plane"
_RESULT = ":result"
"""Not the same: what one convolution gives, the next may read."""


def plane_convolutions(model: ir.Model) -> None:
    """Rewrites the convolutions over one axis whose weights come from a DequantizeLinear; exact, names stay."""
    made: dict[ir.Value, ir.Value] = {}
    axes: ir.Value | None = None
    for node in tuple(model.graph):
        weight = node.inputs[1] if node.op_type in ("Conv", "ConvTranspose") else None
        x = node.inputs[0] if weight is not None else None
        if x is None or weight is None or producer(weight, "DequantizeLinear") is None or _window(weight) != 1:
            continue
        axes = axes or add_initializer(model, f"axes{_PLANE}", np.array([3], np.int64))
        operands = [_with_axis(model, value, axes, node, made) for value in (x, weight)]
        y = node.outputs[0]
        plane = insert_before(
            node, node.op_type, [*operands, *node.inputs[2:]], attributes_in_2d(node), name=f"{y.name}{_RESULT}"
        )
        plane.type, plane.shape = y.type, _longer(y.shape)
        take_over(y, "Squeeze", [plane, axes])


def _window(weight: ir.Value) -> int:
    """How many axes the window of stored weights has; 0 where that is not known."""
    root = _root(weight)
    return 0 if root.shape is None else len(root.shape) - 2


def _root(value: ir.Value) -> ir.Value:
    """What goes through Q/DQ, or is stored for DQ."""
    for op in ("DequantizeLinear", "QuantizeLinear"):
        node = producer(value, op)
        source = None if node is None else node.inputs[0]
        value = value if source is None else source
    return value


def _with_axis(
    model: ir.Model, value: ir.Value, axes: ir.Value, reader: ir.Node, made: dict[ir.Value, ir.Value]
) -> ir.Value:
    """A value with one more axis of size 1, added before its Q/DQ; for all of its readers once."""
    if value in made:
        return made[value]
    node = producer(value, "DequantizeLinear", "QuantizeLinear")
    stored, name = constant(value), f"{value.name}{_PLANE}"
    if node is not None:
        source, scale, zero = node.inputs[:3]
        assert source is not None, "Q/DQ are written with three inputs"
        assert scale is not None, "Q/DQ are written with three inputs"
        assert zero is not None, "Q/DQ are written with three inputs"
        longer = _with_axis(model, source, axes, node, made)
        attributes: dict[str, Attribute] = {key: attribute.value for key, attribute in node.attributes.items()}
        result = insert_before(node, node.op_type, [longer, scale, zero], attributes, name=name)
        result.type, result.shape = (scale if node.op_type == "DequantizeLinear" else zero).type, longer.shape
    elif stored is not None:
        result = add_initializer(model, name, stored[..., None])
    else:
        result = insert_before(reader, "Unsqueeze", [value, axes], name=name)
        result.type, result.shape = value.type, _longer(value.shape)
    made[value] = result
    return result


def _longer(shape: ir.Shape | None) -> ir.Shape | None:
    return None if shape is None else ir.Shape([*shape, 1])

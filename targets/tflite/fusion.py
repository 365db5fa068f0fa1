"""Which activations a TFLite kernel applies by itself."""

from __future__ import annotations

from typing import Literal

import onnx_ir as ir

Activation = Literal["NONE", "RELU", "RELU6", "RELU_N1_TO_1"]
"""Names in the schema's ActivationFunctionType; TANH and SIGN_BIT exist there but no CPU kernel takes them."""

_CLIPS: dict[tuple[float, float], Activation] = {
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, float("inf")): "RELU",
}
_ANCHORS = frozenset({"Conv", "ConvTranspose", "MatMul", "Add", "Sub", "Mul", "Div"})


def fusible(anchor: ir.Node, activation: ir.Node) -> bool:
    """Whether the TFLite kernel of `anchor` can apply `activation` to its own output.

    The kernels take Relu, Clip to [0, 6] and Clip to [-1, 1], for float32 outputs (int8 through quantization).
    """
    if anchor.domain or anchor.op_type not in _ANCHORS or fused_activation(activation) == "NONE":
        return False
    if anchor.outputs[0].dtype not in (None, ir.DataType.FLOAT):
        return False
    if anchor.op_type == "MatMul":  # FULLY_CONNECTED takes an activation, BATCH_MATMUL does not
        weight = anchor.inputs[1]
        return weight is not None and weight.const_value is not None and len(weight.const_value.shape) == 2
    return True


def fused_activation(node: ir.Node) -> Activation:
    """The schema's name of the activation that a node is, NONE if kernels have no such activation."""
    if node.domain:
        return "NONE"
    if node.op_type == "Relu":
        return "RELU"
    if node.op_type == "Clip":
        bounds = clip_bounds(node)
        return "NONE" if bounds is None else _CLIPS.get(bounds, "NONE")
    return "NONE"


def clip_bounds(node: ir.Node) -> tuple[float, float] | None:
    """Lower and upper bound of a Clip (infinite where absent), None if a bound is computed at run time."""
    bounds = [float("-inf"), float("inf")]
    for index in (1, 2):
        value = node.inputs[index] if len(node.inputs) > index else None
        if value is None:
            continue
        if value.const_value is None:
            return None
        bounds[index - 1] = float(value.const_value.numpy().reshape(-1)[0])
    return bounds[0], bounds[1]

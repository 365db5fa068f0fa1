"""Element types that operators came to take, and the conversions between them."""

from __future__ import annotations

import onnx_ir as ir

from edgeport.passes.edit import get_int, take_over
from edgeport.targets.lowering import Refused
from edgeport.targets.opset.registry import Descent, since

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@since(19, "QuantizeLinear")
def _scales_in_float32(at: Descent) -> None:
    """What is quantized and its scale were float32; the sum is the same, as float32 holds every half."""
    node, x, scale = at.node, at.input(0), at.input(1)
    if get_int(node, "saturate", 1) == 0:
        raise Refused("it does not saturate", "let it saturate")
    at.drop("saturate")
    for index, value, role in ((0, x, "x"), (1, scale, "scale")):
        if value is not None and value.dtype in _HALVES:
            at.set_input(index, _cast(at, value, role))


@since(19, "DequantizeLinear")
def _dequantized_in_float32(at: Descent) -> None:
    """The scale and the result were float32."""
    node, scale, y = at.node, at.input(1), at.node.outputs[0]
    if scale is None or scale.dtype not in _HALVES:
        return
    wide = _cast(at, scale, "scale")
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    whole = at.op("DequantizeLinear", [node.inputs[0], wide, *node.inputs[2:]], "float32", **attributes)
    whole.type, whole.shape = ir.TensorType(ir.DataType.FLOAT), y.shape
    take_over(y, "Cast", [whole], {"to": int(scale.dtype)})


def _cast(at: Descent, value: ir.Value, role: str) -> ir.Value:
    wide = at.op("Cast", [value], f"{role}/float32", to=int(ir.DataType.FLOAT))
    wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
    return wide

"""Operators that compute in integers themselves instead of standing between Q and DQ."""

from __future__ import annotations

from collections.abc import Iterator

from edgeport.targets.tensorrt.rules.reading import Reading, label
from edgeport.targets.tensorrt.rules.registry import Broken, rule

_ONNX = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_MICROSOFT = (
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "GatherBlockQuantized",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QMoE",
    "QOrderedMatMul",
)


@rule("trt-integer-operator", "error")
def integer_operator(reading: Reading) -> Iterator[Broken]:
    """TensorRT takes quantized models as Q/DQ around float operators only.

    No parser imports operators that compute in integers, nor DynamicQuantizeLinear, which finds scales at run time
    (measured).
    """
    for node in reading.nodes:
        own = not node.domain and node.op_type in _ONNX
        contributed = node.op_type in _MICROSOFT or node.op_type.startswith("QLinear")
        if own or (node.domain == "com.microsoft" and contributed):
            dynamic = "Dynamic" in node.op_type or "Integer" in node.op_type
            hint = "calibrate static scales" if dynamic else "write Q/DQ"
            yield Broken(
                node,
                f"{node.op_type} writes {label(node.outputs[0])} in integers; TensorRT has no such operator",
                f"{hint}: quantize_static with quant_format=QuantFormat.QDQ, or export the float model with edgeport",
            )

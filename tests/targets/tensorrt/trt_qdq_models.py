"""Small quantized models by hand, each right but for what a test changes in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TYPES = {
    "int8": TensorProto.INT8,
    "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16,
    "int4": TensorProto.INT4,
    "uint4": TensorProto.UINT4,
    "fp8": TensorProto.FLOAT8E4M3FN,
}
_NUMPY = {"fp8": ml_dtypes.float8_e4m3fn, "int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4}


@dataclass
class Graph:
    """Nodes and constants; nodes are named after what they write."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def qdq(
        self,
        value: str,
        scale: Any,
        *,
        zero: Any = 0,
        dtype: str | None = "int8",
        axis: int | None = None,
        stored: bool = False,
        **more: Any,
    ) -> str:
        """Q and DQ of a value, only DQ where it is `stored`; without a zero point where `dtype` is None."""
        scale = np.asarray(scale)
        attributes = more | ({} if axis is None else {"axis": axis})
        parameters = [self.constant(f"{value}_scale", scale if scale.dtype == np.float16 else scale.astype(np.float32))]
        if dtype is not None:
            zeros = np.broadcast_to(zero, scale.shape).astype(_NUMPY.get(dtype, dtype))
            parameters.append(self.constant(f"{value}_zero", zeros))
        quantized = value if stored else self.op("QuantizeLinear", [value, *parameters], f"{value}_q", **attributes)
        if stored:
            attributes |= {"block_size": more["block_size"]} if "block_size" in more else {}
        return self.op("DequantizeLinear", [quantized, *parameters], f"{value}_dq", **attributes)

    def model(self, shape: tuple[int, ...], output: str, opset: int = 17, dtype: int = TensorProto.FLOAT) -> bytes:
        """The file: one input `x`; `output` has the shape that follows."""
        ends = [helper.make_tensor_value_info("x", dtype, shape)], [onnx.ValueInfoProto(name=output)]
        graph = helper.make_graph(self.nodes, "g", *ends, self.constants)
        domains = sorted({node.domain for node in self.nodes} - {""})
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=13 if opset > 23 else 10)
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info(output, dtype, None))
        return model.SerializeToString()


CHANNELS = 64


def weight(seed: int = 0) -> np.ndarray:
    """Of a convolution, 64 to 64 channels, window 3x3."""
    return np.random.default_rng(seed).normal(0, 0.1, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)


def by_channel(array: np.ndarray, axis: int = 0) -> np.ndarray:
    """Scales that make the largest magnitude of each channel 127."""
    return (np.abs(array).max(tuple(a for a in range(array.ndim) if a != axis)) / 127).astype(np.float32)


def conv(
    opset: int = 17,
    *,
    x: dict[str, Any] | None = None,
    w: dict[str, Any] | None = None,
    b: dict[str, Any] | None = None,
    array: np.ndarray | None = None,
) -> bytes:
    """x -> Q -> DQ -> Conv with weights by channel -> Relu; what is given replaces arguments of `Graph.qdq`."""
    g = Graph()
    array = weight() if array is None else array
    data = g.qdq("x", **{"scale": 0.02, **(x or {})})
    g.constant("w", array)
    per_channel = {"scale": by_channel(weight()), "axis": 0} if opset >= 13 else {"scale": 0.004}
    weights = g.qdq("w", **{**per_channel, **(w or {})})
    bias = g.constant("b", np.linspace(-1, 1, CHANNELS, dtype=np.float32))
    if b is not None:
        if b.get("stored"):
            g.constants[-1].CopyFrom(numpy_helper.from_array(np.arange(CHANNELS, dtype=np.int32), "b"))
        bias = g.qdq("b", **b)
    g.op("Relu", [g.op("Conv", [data, weights, bias], "c", pads=[1, 1, 1, 1])], "y")
    return g.model((1, CHANNELS, 16, 16), "y", opset)

"""Small canonical graphs for the tests of targets, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

OPSET = 24


class Graph:
    """Collects nodes; values are named by the caller or numbered."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: dict[str, np.ndarray] = {}

    def input(self, name: str, array: np.ndarray) -> str:
        """Adds a graph input whose sample is `array`."""
        self.inputs[name] = array
        return name

    def const(self, array: Any, name: str | None = None) -> str:
        """Adds an initializer."""
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op_type: str, *inputs: str, out: str | Sequence[str] | None = None, **attributes: Any) -> Any:
        """Adds a node; returns its output name, or their list if `out` is one."""
        given = f"{op_type.lower()}{len(self.nodes)}" if out is None else out
        outputs = [given] if isinstance(given, str) else list(given)
        name = f"n{len(self.nodes)}_{op_type}"
        self.nodes.append(helper.make_node(op_type, list(inputs), outputs, name=name, **attributes))
        return given if isinstance(given, str) else outputs

    def proto(self, *outputs: str) -> onnx.ModelProto:
        """The model with the given outputs, shapes inferred."""
        ins = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in self.inputs.items()
        ]
        outs = [onnx.ValueInfoProto(name=o) for o in outputs]
        graph = helper.make_graph(self.nodes, "g", ins, outs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        if not all(
            o.type.HasField("tensor_type") for o in inferred.graph.output
        ):  # GroupNormalization has no inference
            arrays = reference(model, self.inputs)
            for value in inferred.graph.output:
                dtype = helper.np_dtype_to_tensor_dtype(arrays[value.name].dtype)
                value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, arrays[value.name].shape))
        return inferred

    def model(self, *outputs: str) -> ir.Model:
        """As `proto`, as the only intermediate representation."""
        return ir.serde.deserialize_model(self.proto(*outputs))


def reference(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs in ONNX Runtime, one thread."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

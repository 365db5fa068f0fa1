"""Small graphs as models of the canonical opset, and the comparison of their torch views with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from onnx_graphs import Graph

from edgeport.passes.infer_shapes import infer_shapes
from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import torch_view

__all__ = ["Arrays", "Graph", "assert_same", "ints", "model_of", "normal", "reference", "targets"]

Arrays = Mapping[str, np.ndarray]


def model_of(text: str, constants: Arrays | None = None) -> ir.Model:
    """A graph in ONNX's text form, of opset 24 and with the given initializers, shapes inferred."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 24]> {text}')
    for name, array in (constants or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    model = ir.serde.deserialize_model(proto)
    infer_shapes(model)
    return model


def reference(model: ir.Model, feeds: Arrays) -> dict[str, np.ndarray]:
    """Every named value of a model in ONNX Runtime, one thread, nothing fused; numpy has no integers of 4 bits."""
    import onnxruntime as ort

    proto = ir.serde.serialize_model(model)
    narrow = (ir.DataType.INT4, ir.DataType.UINT4)
    have = {value.name for value in proto.graph.output} | {"", None}
    inner = [v.name for node in model.graph for v in node.outputs if v.name not in have and v.dtype not in narrow]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, dict(feeds)), strict=True))


def assert_same(model: ir.Model, feeds: Arrays, tolerance: float = 1e-5) -> torch.fx.GraphModule:
    """Every named value of the view equals ONNX Runtime's; returns the view.

    Both compute in the same width but sum in other orders: a few ulp (1e-7 in float32) times the number of terms stay
    below 1e-5 for the sizes and magnitudes (about 1) used here. Integers and truth values must be equal.
    """
    view = torch_view(model)
    runner = TorchViewRunner(view, model)
    wanted = reference(model, feeds)
    got = runner.intermediates(feeds, list(wanted))
    assert set(got) >= {name for name, array in wanted.items() if array is not None} - {""}
    results = runner.run(feeds)
    for name, want in wanted.items():
        for array in [got[name], *([results[name]] if name in results else [])]:
            assert (array.dtype, array.shape) == (want.dtype, want.shape), name
            if want.dtype.kind == "f":
                np.testing.assert_allclose(array, want, rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                np.testing.assert_array_equal(array, want, err_msg=name)
    return view


def targets(view: torch.fx.GraphModule) -> list[str]:
    """Names of the functions that a view calls."""
    return [getattr(n.target, "__name__", str(n.target)) for n in view.graph.nodes if n.op == "call_function"]


def normal(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """Standard normal numbers."""
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def ints(*values: int) -> np.ndarray:
    """An int64 vector."""
    return np.asarray(values, np.int64)

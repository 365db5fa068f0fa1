"""ONNX's own node tests through passes, lowering and LiteRT: right or refused, never wrong, never a crash."""

from __future__ import annotations

import collections
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from edgeport.errors import ModelError
from edgeport.passes.pipeline import canonicalize
from edgeport.quantize.plan import Plan
from edgeport.targets.tflite.registry import LOWERINGS
from edgeport.targets.tflite.target import TFLITE

ALL_INPUTS = {
    "Add", "And", "Attention", "Concat", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "MatMul",
    "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor",
}  # fmt: skip
"""Operators whose further inputs are data; those of the others are parameters and become constants."""
WORKING = {
    "Add", "And", "ArgMax", "ArgMin", "Attention", "AveragePool", "BatchNormalization", "Clip", "Concat",
    "Conv", "ConvTranspose", "CumSum", "DepthToSpace", "Div", "Elu", "Equal", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "Gelu", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GroupNormalization",
    "HardSigmoid", "HardSwish", "InstanceNormalization", "LeakyRelu", "Less", "LogSoftmax",
    "MatMul", "Max", "MaxPool", "Mean", "Min", "Mish", "Mod", "Mul", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow",
    "RMSNormalization", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Softmax", "Softplus",
    "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Swish", "Tanh", "Tile", "TopK", "Transpose", "Trilu",
    "Unsqueeze", "Where", "Xor",
}  # fmt: skip
"""Operators of which at least one case must pass."""


def node_cases() -> list[Any]:
    """Single-node cases of operators that have a lowering."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    models = [(c, c.model) for c in cases if c.model is not None and len(c.model.graph.node) == 1]
    return [c for c, model in models if model.graph.node[0].op_type in LOWERINGS]


def outcome(case: Any, folder: Path) -> str:
    """`pass`, `refused` or `wrong: ...`; anything unexpected escapes."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    model.opset_import[0].version = max(model.opset_import[0].version, 9)  # logic tests are stamped 1 and 7
    graph = model.graph
    arrays, wanted = case.data_sets[0]
    feeds, kept = {}, []
    for index, (value, array) in enumerate(zip(list(graph.input), arrays, strict=True)):
        array = np.asarray(array) if isinstance(array, np.generic) else array
        if not isinstance(array, np.ndarray):
            return "skipped"
        if index == 0 or graph.node[0].op_type in ALL_INPUTS:
            feeds[value.name] = array
            kept.append(value)
        else:
            graph.initializer.append(numpy_helper.from_array(array, value.name))
    del graph.input[:]
    graph.input.extend(kept)
    try:
        canonical = canonicalize(ir.serde.deserialize_model(model))
        findings = TFLITE.check(canonical, "fp32", None)
        if findings:
            assert all(f.severity == "error" and f.message for f in findings)
            return "refused"
        artifact = TFLITE.lower(canonical, Plan("fp32"), folder, "case")
    except ModelError:
        return "refused"
    got = TFLITE.runner(artifact, canonical).run(feeds)
    for (name, array), want in zip(got.items(), wanted, strict=True):
        if array.shape != want.shape or array.dtype != want.dtype:
            return f"wrong: {name} is {array.dtype}{array.shape}, expected {want.dtype}{want.shape}"
        # Expected values are written with 4 to 7 digits; kernels sum in another order than numpy.
        if not np.allclose(array.astype(float), want.astype(float), rtol=1e-3, atol=1e-4, equal_nan=True):
            return f"wrong: {name} differs by {np.abs(array.astype(float) - want.astype(float)).max()}"
    return "pass"


@pytest.mark.filterwarnings("ignore")
def test_node_cases_pass_or_are_refused(tmp_path: Path) -> None:
    results = {case.name: (case.model.graph.node[0].op_type, outcome(case, tmp_path)) for case in node_cases()}
    wrong = {name: result for name, (_, result) in results.items() if result.startswith("wrong")}
    assert wrong == {}
    passing = collections.Counter(op for op, result in results.values() if result == "pass")
    assert set(passing) >= WORKING, WORKING - set(passing)
    assert passing.total() > 380

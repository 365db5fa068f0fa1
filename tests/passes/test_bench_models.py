"""Real models, where they are on this machine: same numbers, and none of the exporter's noise left."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

BENCH = Path(__file__).parents[3] / "shared" / "bench"

EXPECTED = {
    "fmnist/fmnist_vit.onnx": {"Conv", "Reshape", "Transpose", "Concat", "Add", "LayerNormalization", "MatMul"}
    | {"Attention", "Gelu", "Gather"},
    "fmnist/fmnist_ds.onnx": {"Conv", "Clip", "ReduceMean", "MatMul", "Add"},
    "crepe/crepe_tiny.onnx": {"Reshape", "Conv", "Relu", "Mul", "Add", "MaxPool", "Transpose", "MatMul", "Sigmoid"},
    "rxn_albert/rxn_albert.onnx": {"Gather", "Add", "LayerNormalization", "MatMul", "Reshape", "Transpose", "Attention"}
    | {"Gelu", "Cast", "Where", "Expand"},
    "basic_pitch/nmp.onnx": {"Reshape", "Pad", "Conv", "Transpose", "Mul", "Concat", "ReduceSum", "Sqrt", "Log", "Add"}
    | {"ReduceMin", "Sub", "ReduceMax", "Div", "Equal", "Where", "Slice", "Relu", "Sigmoid"},
    "g2p/g2p_dec_step.onnx": {"Gather", "MatMul", "Add", "Sigmoid", "Mul", "Tanh", "Sub"},
    "silero_vad/silero_vad_openvino_16k.onnx": {
        "Reshape",
        "Pad",
        "Conv",
        "Slice",
        "Pow",
        "Add",
        "Sqrt",
        "Relu",
        "Gather",
    }
    | {"LSTM", "Sigmoid", "Concat", "ReduceMean"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_model(check, name):
    path = BENCH / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine")
    proto = onnx.load(path)
    for value in (*proto.graph.input, *proto.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.startswith(("N", "unk__")):
                dim.dim_value = 1
    # 1e-5 of the largest output: thousands of sums in another order, measured at most 2e-6
    checked = check(proto)
    assert set(checked.ops) == EXPECTED[name]

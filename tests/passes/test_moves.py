"""Where data moves: Transposes before merging Reshapes, and linear layers that are cut into pieces."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport.passes.pipeline import canonicalize
from edgeport.passes.transpose_first import merges


def _operators_and_error(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> tuple[Counter[str], float]:
    graph = canonicalize(ir.from_proto(model))
    results = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
        for m in (model, ir.to_proto(graph))
    ]
    error = max(float(np.abs(a - b).max()) for a, b in zip(*results, strict=True))
    return Counter(node.op_type for node in graph.graph), error


def _model(
    nodes: list[onnx.NodeProto], shape: list[int], outputs: int, constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, None) for i in range(outputs)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def _ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def test_columns_of_an_image_become_time_steps_in_one_move() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Reshape", ["nchw", "merged"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["y0"], perm=[0, 2, 1]),
    ]
    x = np.random.default_rng(0).normal(size=(1, 4, 6, 5)).astype(np.float32)
    operators, error = _operators_and_error(_model(nodes, [1, 4, 6, 5], 1, {"merged": _ints(1, 20, 6)}), {"x": x})
    assert operators == {"Transpose": 1, "Reshape": 1}
    assert error == 0


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        ((1, 32, 8, 16), (1, 256, 16), [[0], [1, 2], [3]]),
        ((2, 3, 1, 4), (6, 4), [[0, 1], [2, 3]]),
        ((2, 3, 4, 1), (2, 12), [[0], [1, 2, 3]]),
        ((4, 6), (6, 4), None),  # nothing merges
        ((1, 4, 5), (4, 5), None),  # only a one goes
        ((2, 12), (2, 3, 4), None),  # a split
        ((2, 3, 4), (6, 2, 2), None),
    ],
)
def test_merged_axes(before: tuple[int, ...], after: tuple[int, ...], groups: list[list[int]] | None) -> None:
    assert merges(before, after) == groups


_LINEAR = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["linear"])]
_FINE = helper.make_node("Reshape", ["linear", "fine"], ["r"])
_MOVED = helper.make_node("Transpose", ["r"], ["t"], perm=[2, 0, 3, 1, 4])


def _gather(source: str, axis: int, index: int) -> onnx.NodeProto:
    return helper.make_node("Gather", [source, f"i{index}"], [f"y{index}"], axis=axis)


@pytest.mark.parametrize(
    ("nodes", "products"),
    [
        ([*_LINEAR, helper.make_node("Split", ["linear"], ["y0", "y1", "y2"], axis=-1, num_outputs=3)], 3),
        ([*_LINEAR, _FINE, *(_gather("r", 2, i) for i in range(3))], 3),
        ([*_LINEAR, _FINE, _MOVED, *(_gather("t", 0, i) for i in range(3))], 3),
        # Something else reads the whole, or the cut runs through another dimension: one product remains.
        (
            [
                *_LINEAR,
                helper.make_node("Split", ["linear"], ["y0", "y1"], axis=-1, num_outputs=2),
                helper.make_node("Relu", ["linear"], ["y2"]),
            ],
            1,
        ),
        ([*_LINEAR, helper.make_node("Split", ["linear", "rows"], ["y0", "y1", "y2"], axis=1)], 1),
    ],
)
def test_a_layer_that_is_only_cut_becomes_a_layer_a_piece(nodes: list[onnx.NodeProto], products: int) -> None:
    random = np.random.default_rng(1)
    constants = {
        "w": random.normal(size=(16, 48)).astype(np.float32),
        "b": random.normal(size=48).astype(np.float32),
        "fine": _ints(1, 7, 3, 2, 8),
        "rows": _ints(3, 3, 1),
        **{f"i{i}": np.asarray(i, np.int64) for i in range(3)},
    }
    x = random.normal(size=(1, 7, 16)).astype(np.float32)
    operators, error = _operators_and_error(_model(nodes, [1, 7, 16], 3, constants), {"x": x})
    assert operators["MatMul"] == products
    assert ("Split" in operators or "Slice" in operators) == (products == 1)
    # Sums of 16 products in another order: a few units of the last of 24 bits of values up to about 15.
    assert error < 1e-5

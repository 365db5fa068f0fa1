"""The bias correction: what it adds follows from the weights, and a quantized graph's channels keep their means."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from edgeport.calibration import collect
from edgeport.planning import assign_for, plan_for, tensors_to_observe
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme import OpRule, Scheme
from edgeport.validate.onnx_runner import OnnxRunner

RULES = {
    "Conv": OpRule("anchor", weight=1, weight_axis=0, activations=(0,)),
    "MatMul": OpRule("anchor", weight=1, weight_axis=1, activations=(0,)),
}
OPSET = helper.make_opsetid("", 24)
SCHEME = Scheme("int8", "int8", RULES, needs_data=True)


def conv(groups: int) -> tuple[ir.Model, np.ndarray]:
    w = np.random.default_rng(1).standard_normal((8, 16 // groups, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="n", group=groups)
    return graph([node], [1, 16, 10, 10], {"w": w, "b": np.zeros(8, np.float32)}), w.reshape(8, -1)


def product() -> tuple[ir.Model, np.ndarray]:
    w = np.random.default_rng(1).standard_normal((64, 8)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="n"),
        helper.make_node("Add", ["m", "b"], ["y"], name="add"),
    ]
    return graph(nodes, [1, 40, 64], {"w": w, "b": np.zeros(8, np.float32)}), w.T


def graph(nodes: list, shape: list[int], constants: dict[str, np.ndarray]) -> ir.Model:
    tensors = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_model(helper.make_graph(nodes, "g", [x], [y], tensors), opset_imports=[OPSET], ir_version=10)
    return ir.from_proto(shape_inference.infer_shapes(made))


def planned(model: ir.Model, samples: list[dict[str, np.ndarray]]) -> Plan:
    assigned = assign_for(model, SCHEME)
    statistics = collect(model, samples, dict.fromkeys(tensors_to_observe([assigned]), "histogram"))
    return plan_for(model, assigned, statistics, "min-max")


def images(model: ir.Model, center: float) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    shape = model.graph.inputs[0].shape.numpy()
    return [{"x": (center + 0.2 * rng.standard_normal(shape)).astype(np.float32)} for _ in range(8)]


@pytest.mark.parametrize("made", [lambda: conv(1), lambda: conv(2), product], ids=["dense", "grouped", "product"])
def test_channels_keep_their_means(made: object) -> None:
    model, rows = made()  # type: ignore[operator]
    samples = images(model, 1.0)
    plan = planned(model, samples)
    scale = plan.qparams("w").scale[:, None]
    rounding = (np.rint(rows / scale) * scale - rows).sum(axis=1)
    # The histogram's mean is that of its bins' middles: 2 / 2048 of a range of 2 at most.
    np.testing.assert_allclose(plan.shifts["n"], rounding, rtol=1e-2, atol=1e-5)

    def error(of: Plan) -> float:
        """Mean error of the channels, relative to the step of the output; itself rounded, evenly."""
        runner, float_runner = OnnxRunner(write_qdq(model, of, SCHEME), simulate=True), OnnxRunner(model)
        axes = (0, 2, 3) if rows.shape[1] != 64 else (0, 1)
        means = [(runner.run(s)["y"] - float_runner.run(s)["y"]).mean(axis=axes) for s in samples]
        return float(np.abs(np.mean(means, axis=0)).mean())

    plain = Plan(plan.precision, plan.tensors, plan.nodes)
    assert error(plan) < 0.5 * error(plain)  # what is left is the rounding of activations


def test_a_mean_near_zero_says_nothing() -> None:
    model, _ = conv(1)
    assert planned(model, images(model, 0.0)).shifts == {}

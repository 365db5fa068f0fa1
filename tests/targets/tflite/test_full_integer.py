"""`--scheme full-integer`: files without a float operator inside, against their simulation and against float."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tflite_graphs import Graph, normal

from edgeport import api
from edgeport.calibration import collect
from edgeport.errors import CalibrationError, ModelError, UsageError
from edgeport.passes import canonicalize
from edgeport.planning import assign_for, plan_for, tensors_to_observe
from edgeport.quantize.plan import Plan
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.contract import Artifact
from edgeport.targets.tflite.interpreter import interpreter
from edgeport.targets.tflite.target import TFLITE
from edgeport.validate.onnx_runner import OnnxRunner

SCHEME = "full-integer"
BOUNDARY = {"QUANTIZE", "DEQUANTIZE", "CAST"}


def exported(graph: Graph, outputs: Sequence[str], out: Path) -> tuple[ir.Model, Plan, Artifact]:
    """The canonical graph, its plan by the extremes of the one sample, and the file."""
    model = canonicalize(graph.model(*outputs), add=TFLITE.schemes[SCHEME])
    assigned = assign_for(model, TFLITE.scheme("int8", None, SCHEME))
    statistics = collect(model, [graph.inputs], dict.fromkeys(tensors_to_observe([assigned]), "histogram"))
    plan = plan_for(model, assigned, statistics, "min-max")
    return model, plan, TFLITE.lower(model, plan, out, "m")


def float_operators(artifact: Artifact) -> set[str]:
    """Operators with a float operand, those at the file's ends left out."""
    engine = interpreter(artifact.path.read_bytes())
    floats = {t["index"] for t in engine.get_tensor_details() if t["dtype"] == np.float32}
    operators = [op for op in engine._get_ops_details() if op["op_name"] != "DELEGATE"]
    return {
        op["op_name"] for op in operators if floats.intersection((*op["inputs"].tolist(), *op["outputs"].tolist()))
    } - BOUNDARY


def check(graph: Graph, outputs: Sequence[str], tmp_path: Path, steps: float, decibels: float) -> Plan:
    """No float inside; the file within `steps` of the simulation; the simulation within `decibels` of float."""
    model, plan, artifact = exported(graph, outputs, tmp_path)
    assert float_operators(artifact) == set()
    got = TFLITE.runner(artifact, model).run(graph.inputs)
    simulation = write_qdq(model, plan, TFLITE.scheme("int8", None, SCHEME))
    simulated = OnnxRunner(simulation, simulate=True).run(graph.inputs)
    exact = OnnxRunner(graph.model(*outputs)).run(graph.inputs)
    for name in outputs:
        quant = plan.qparams(name)
        assert quant is not None
        assert np.abs(got[name] - simulated[name]).max() <= steps * float(quant.scale), name
        noise = ((simulated[name] - exact[name]) ** 2).sum()
        assert 10 * np.log10((exact[name] ** 2).sum() / noise) >= decibels
    return plan


UNARY: dict[str, dict[str, Any]] = {
    "Abs": {},
    "Elu": {},
    "Exp": {},
    "Gelu": {},
    "HardSigmoid": {},
    "HardSwish": {},
    "LogSoftmax": {},
    "Neg": {},
    "Relu": {},
    "Sigmoid": {},
    "Softmax": {},
    "Sqrt": {},
    "Swish": {},
    "Tanh": {},
}


@pytest.mark.parametrize("op", UNARY)
def test_activations(op: str, tmp_path: Path) -> None:
    g = Graph()
    x = normal(1, 5, 16)
    y = g.op(op, g.input("x", np.abs(x) + 0.1 if op == "Sqrt" else x), **UNARY[op])
    # Sqrt is off by one in LiteRT; HardSwish and Swish round twice. Rounding input and output to 8 bits leaves 30 dB
    # of a function whose range is used evenly, less of Softmax, whose step is fixed.
    check(g, [y], tmp_path, steps=2.01 if op in ("HardSwish", "Swish", "Sqrt", "HardSigmoid") else 1.01, decibels=24)


def test_pools_reductions_and_choices(tmp_path: Path) -> None:
    g = Graph()
    x, z = g.input("x", normal(1, 4, 6, 6)), g.input("z", normal(1, 4, 6, 6) * 3)
    outputs = [
        g.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]),
        g.op("GlobalMaxPool", x),
        g.op("ReduceMax", x, g.const(np.asarray([1])), keepdims=1),
        g.op("ReduceSum", x, g.const(np.asarray([2, 3])), keepdims=1),
        g.op("Max", x, z),
        g.op("Min", z, x),
        g.op("PRelu", x, g.const(np.asarray([[[0.1]], [[0.2]], [[0.3]], [[0.4]]], np.float32))),
        g.op("Concat", x, g.op("Sigmoid", z), axis=1),
        g.op("Div", x, g.const(np.float32(3))),
        g.op("Gather", g.const(normal(8, 6)), g.input("ids", np.asarray([3, 1, 7]))),
    ]
    check(g, outputs, tmp_path, steps=1.01, decibels=30)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_classes_of_pixels(op: str, keepdims: int, tmp_path: Path) -> None:
    """The largest of the integers: what ONNX Runtime finds in the simulation, the first of equal ones."""
    g = Graph()
    logits = g.op("Conv", g.input("x", normal(1, 3, 6, 6)), g.const(normal(5, 3, 1, 1)))
    y = g.op(op, logits, axis=1, keepdims=keepdims)
    model, plan, artifact = exported(g, [y], tmp_path)
    assert float_operators(artifact) == set()
    simulation = OnnxRunner(write_qdq(model, plan, TFLITE.scheme("int8", None, SCHEME)), simulate=True)
    got, want = TFLITE.runner(artifact, model).run(g.inputs)[y], simulation.run(g.inputs)[y]
    # A product that lies between two steps may be rounded to either, and turn one pixel of 36.
    assert got.shape == want.shape
    assert (got != want).sum() <= 1


@pytest.mark.parametrize("norm", ["LayerNormalization", "RMSNormalization", "InstanceNormalization"])
def test_normalizations(norm: str, tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 6, 32) * 3 + 1)
    scale = np.abs(normal(6 if norm.startswith("Instance") else 32)) + 0.5
    bias = [] if norm.startswith("RMS") else [g.const(normal(len(scale)))]
    # Five values rounded one after the other; integer RSQRT and products differ by one step each from the simulation.
    check(g, [g.op(norm, x, g.const(scale), *bias)], tmp_path, steps=4.01, decibels=27)


@pytest.mark.parametrize("lowest", [-1e4, -3.4e38])
def test_masked_scores_keep_their_resolution(lowest: float, tmp_path: Path) -> None:
    """The mask saturates just below the scores: at -1e4 all scores would fall into one step."""
    g = Graph()
    q, k, v = (g.input(name, normal(1, 2, 8, 16)) for name in "qkv")
    allowed = g.input("allowed", np.asarray([[[[1] * 6 + [0] * 2]]], np.int64))
    masked = g.op("Sub", g.const(np.float32(1)), g.op("Cast", allowed, to=1))
    mask = g.op("Mul", masked, g.const(np.float32(lowest)))
    mask = g.op("Expand", mask, g.const(np.asarray([1, 1, 8, 8])))
    y = g.op("Attention", q, k, v, mask)
    # 8-bit scores before an exponential: a step of the scores moves a probability by some percent.
    plan = check(g, [y], tmp_path, steps=4.01, decibels=26)
    sums = [t for name, t in plan.tensors.items() if name.endswith("/masked")]
    assert len(sums) == 1
    assert sums[0].qparams is not None
    assert 255 * float(sums[0].qparams.scale) < 40  # the scores' own range and 12 on top


def test_what_has_no_integer_kernel_is_refused_by_name() -> None:
    g = Graph()
    x = g.input("x", normal(1, 4))
    outputs = [g.op("Erf", x), g.op("Sin", g.op("Relu", x))]
    with pytest.raises(ModelError, match="2 node\\(s\\) have no integer kernel \\(Erf, Sin\\)") as error:
        assign_for(canonicalize(g.model(*outputs)), TFLITE.scheme("int8", None, SCHEME))
    assert [f.op for f in error.value.findings] == ["Erf", "Sin"]
    assert all(f.node for f in error.value.findings)


def test_the_scheme_is_one_of_int8() -> None:
    with pytest.raises(UsageError, match="--precision int8"):
        TFLITE.scheme("fp16", None, SCHEME)


def test_exported_from_statistics_of_the_same_scheme(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("LayerNormalization", g.input("x", normal(1, 6, 32)), g.const(np.ones(32, np.float32)))
    x = g.op("Relu", g.op("MatMul", x, g.const(normal(32, 16))))
    y = g.op("Softmax", g.op("MatMul", x, g.const(normal(16, 8))))
    path = tmp_path / "m.onnx"
    onnx.save(g.proto(y), path)
    rng = np.random.default_rng(8)
    samples = [{"x": rng.normal(size=(1, 6, 32)).astype(np.float32)} for _ in range(8)]
    api.calibrate(path, calib=lambda: iter(samples), scheme=SCHEME, out=tmp_path / "s.safetensors", cache=False)
    made = api.export(
        path,
        statistics=tmp_path / "s.safetensors",
        data=lambda: iter(samples),
        scheme=SCHEME,
        out=tmp_path / "out",
        budget=["sqnr>=25"],  # five values rounded to 8 bits in the norm, and a Softmax with a step of 1/256
    )
    assert made.report["options"]["scheme"] == SCHEME
    with pytest.raises(CalibrationError, match="another model"):  # other values have other statistics
        api.export(path, statistics=tmp_path / "s.safetensors", data=lambda: iter(samples), out=tmp_path / "two")
    with pytest.raises(UsageError, match="full-integer"):
        api.export(path, scheme="full", calib=lambda: iter(samples), out=tmp_path / "three")

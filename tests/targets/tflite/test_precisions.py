"""fp16, weight-only, dynamic, int4 and int16 files: what they store, and that they compute what was simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from test_integers import plan_of
from tflite_graphs import Graph, normal

from edgeport.presentation import Presentation
from edgeport.quantize.assign import assign
from edgeport.quantize.plan import Plan
from edgeport.quantize.planner import make_plan
from edgeport.quantize.qdq import write_qdq
from edgeport.quantize.scheme_options import Storage, with_storage
from edgeport.targets.contract import Artifact
from edgeport.targets.tflite.target import TFLITE
from edgeport.validate.onnx_runner import OnnxRunner


def encoder(width: int = 64) -> tuple[Graph, str]:
    """Embedding, product with bias, product."""
    g = Graph()
    ids = np.random.default_rng(1).integers(0, 96, (1, 20))
    x = g.op("Gather", g.const(normal(96, width)), g.input("ids", ids), axis=0)
    h = g.op("Relu", g.op("Add", g.op("MatMul", x, g.const(normal(width, 128, seed=1))), g.const(normal(128, seed=2))))
    return g, g.op("MatMul", h, g.const(normal(128, 48, seed=3)))


def cnn() -> tuple[Graph, str]:
    """Convolution, depthwise convolution, product behind a Flatten."""
    g = Graph()
    x = g.input("x", normal(1, 8, 12, 12))
    x = g.op("Relu", g.op("Conv", x, g.const(normal(64, 8, 3, 3, seed=1) / 8), g.const(normal(64, seed=2))))
    x = g.op("Conv", x, g.const(normal(64, 1, 3, 3, seed=3) / 3), group=64, pads=[1, 1, 1, 1])
    x = g.op("Flatten", g.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    return g, g.op("MatMul", x, g.const(normal(1600, 10, seed=4)))


def planned(g: Graph, y: str, precision: str, block: int | None = None) -> tuple[object, Plan, object]:
    if precision == "int16x8":
        model, plan = plan_of(g, [y], precision)
        return model, plan, TFLITE.scheme(precision, None)
    model = g.model(y)
    scheme = with_storage(TFLITE.scheme(precision, None), Storage(block))
    return model, make_plan(assign(model.graph, scheme), scheme, None, "min-max"), scheme


def built(
    g: Graph, y: str, precision: str, out: Path, block: int | None = None
) -> tuple[Artifact, np.ndarray, np.ndarray]:
    """The artifact, its output, and the simulation's."""
    model, plan, scheme = planned(g, y, precision, block)
    artifact = TFLITE.lower(model, plan, out, "m")
    got = TFLITE.runner(artifact, model).run(g.inputs)[y]
    return artifact, got, OnnxRunner(write_qdq(model, plan, scheme), simulate=True).run(g.inputs)[y]


def sqnr(want: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.square(want).sum() / np.square(want - got).sum()))


def parsed(artifact: Artifact) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(artifact.path.read_bytes(), 0)


def types(artifact: Artifact) -> set[int]:
    """Types of the constants of at least 256 elements."""
    model = parsed(artifact)
    tensors = model.subgraphs[0].tensors
    return {t.type for t in tensors if model.buffers[t.buffer].data is not None and np.prod(t.shape) >= 256}


@pytest.mark.parametrize("make", [encoder, cnn])
@pytest.mark.parametrize("precision", ["fp16", "int8-weights"])
def test_stored_weights_compute_what_the_simulation_does(make: object, precision: str, tmp_path: Path) -> None:
    g, y = make()  # type: ignore[operator]
    artifact, got, simulated = built(g, y, precision, tmp_path)
    assert sqnr(simulated, got) > 100  # float32 rounding; float16 scales and int8 weights are exact in both
    kind = schema.TensorType.FLOAT16 if precision == "fp16" else schema.TensorType.INT8
    assert types(artifact) == {kind}
    heavy = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert not heavy & set(artifact.facts["not_on_xnnpack"])
    assert not [f for f in artifact.findings if f.code == "slower-than-float"]


@pytest.mark.parametrize("make", [encoder, cnn])
def test_dynamic_kernels_are_all_on_xnnpack(make: object, tmp_path: Path) -> None:
    g, y = make()  # type: ignore[operator]
    artifact, got, simulated = built(g, y, "int8-dynamic", tmp_path)
    assert sqnr(simulated, got) > 35  # activations rounded to 8 bits, a scale a row, twice in sequence
    assert not {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} & set(artifact.facts["not_on_xnnpack"])


def test_dynamic_convolutions_round_their_input_only_where_products_repay_it(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", normal(1, 16, 8, 8))
    narrow = g.op("Conv", x, g.const(normal(8, 16, 1, 1)))
    wide = g.op("Conv", narrow, g.const(normal(64, 8, 3, 3, seed=1)))
    artifact, _, _ = built(g, wide, "int8-dynamic", tmp_path)
    tensors = parsed(artifact).subgraphs[0].tensors
    convolutions = [op for op in parsed(artifact).subgraphs[0].operators if len(op.inputs) == 3]
    assert [tensors[op.inputs[1]].type for op in convolutions] == [schema.TensorType.FLOAT32, schema.TensorType.INT8]


@pytest.mark.parametrize("block", [0, 32, 64])
@pytest.mark.parametrize("make", [encoder, cnn])
def test_int4_products_match_the_simulation_on_xnnpack(make: object, block: int, tmp_path: Path) -> None:
    g, y = make()  # type: ignore[operator]
    artifact, got, simulated = built(g, y, "int4-weights", tmp_path, block)
    assert sqnr(simulated, got) > 35  # activations rounded to 8 bits at run time; the weights are the same numbers
    reference = OnnxRunner(g.proto(y).SerializeToString()).run(g.inputs)[y]
    assert sqnr(reference, got) > 14  # 4 bits: step^2/12 against normal weights is 18 dB, in two or three layers
    assert "FULLY_CONNECTED" not in artifact.facts["not_on_xnnpack"]
    assert schema.TensorType.INT4 in types(artifact)
    details = [t.quantization for t in parsed(artifact).subgraphs[0].tensors if t.type == schema.TensorType.INT4]
    assert {q.details.blockSize if q.details is not None else 0 for q in details} == {block}


def test_rows_that_do_not_fill_blocks_or_bytes_fall_back(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("MatMul", g.input("x", normal(3, 40)), g.const(normal(40, 33)))  # 40: no multiple of 32
    y = g.op("MatMul", x, g.const(normal(33, 64, seed=1)))  # 33: half bytes
    model, plan, _ = planned(g, y, "int4-weights")
    assert [(t.qparams.dtype, t.qparams.block) for t in plan.tensors.values() if t.qparams] == [
        ("int4", None),
        ("int8", None),
    ]
    artifact, got, simulated = built(g, y, "int4-weights", tmp_path)
    assert sqnr(simulated, got) > 35  # rows rounded to 8 bits at run time, as above
    assert not artifact.facts["not_on_xnnpack"]


@pytest.mark.parametrize("make", [encoder, cnn])
def test_int16_activations_match_the_simulation_and_warn(make: object, tmp_path: Path) -> None:
    g, y = make()  # type: ignore[operator]
    artifact, got, simulated = built(g, y, "int16x8", tmp_path)
    assert sqnr(simulated, got) > 70  # one step of 1/32767 of the range here or there
    reference = OnnxRunner(g.proto(y).SerializeToString()).run(g.inputs)[y]
    assert sqnr(reference, got) > 35  # int8 weights
    warning = next(f for f in artifact.findings if f.code == "slower-than-float")
    assert warning.severity == "warning"
    biases = [t for t in parsed(artifact).subgraphs[0].tensors if t.type == schema.TensorType.INT64]
    assert biases


def test_int16_arithmetic_and_activations_between_products(tmp_path: Path) -> None:
    g = Graph()
    x = g.op("Conv", g.input("x", normal(1, 4, 6, 6)), g.const(normal(4, 4, 1, 1)))
    z = g.op("Add", x, g.op("Sigmoid", x))
    z = g.op("Sub", g.op("Mul", z, x), g.op("Tanh", z))
    z = g.op("Relu", g.op("Concat", z, g.op("LeakyRelu", x, alpha=0.1), axis=1))
    y = g.op("Conv", z, g.const(normal(5, 8, 1, 1, seed=1)))
    artifact, got, simulated = built(g, y, "int16x8", tmp_path)
    assert sqnr(simulated, got) > 60  # LOGISTIC and TANH look their values up in tables of 512 intervals
    assert "DEQUANTIZE" not in artifact.facts["ops"] or artifact.facts["ops"]["DEQUANTIZE"] == 1


def test_fp16_allows_half_arithmetic_unless_a_constant_is_beyond_it(tmp_path: Path) -> None:
    g, y = encoder()
    safe, _, _ = built(g, y, "fp16", tmp_path)
    notes = {m.name: bytes(parsed(safe).buffers[m.buffer].data) for m in parsed(safe).metadata}
    assert notes[b"reduced_precision_support"] == b"fp16accfp16"
    h = g.op("Add", y, g.const(np.full(48, -3e38, np.float32)))
    unsafe, _, _ = built(g, h, "fp16", tmp_path)
    assert b"reduced_precision_support" not in {m.name for m in parsed(unsafe).metadata}
    assert "no-float16-arithmetic" in {f.code for f in unsafe.findings}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int8-dynamic", "int8-weights", "int4-weights"])
def test_a_weight_of_many_layers_is_stored_once(precision: str, tmp_path: Path) -> None:
    g = Graph()
    shared, x = g.const(normal(64, 64)), g.input("x", normal(4, 64))
    for i in range(6):
        x = g.op("Tanh", g.op("Add", g.op("MatMul", x, shared), g.const(normal(64, seed=i))))
    model, plan = plan_of(g, [x], precision)
    artifact = TFLITE.lower(model, plan, tmp_path, "m")
    bits = {"fp32": 32, "fp16": 16, "int4-weights": 4}.get(precision, 8)
    data = [b.data for b in parsed(artifact).buffers if b.data is not None and len(b.data) >= 64 * 64 * bits // 8]
    assert len(data) == 1


@pytest.mark.parametrize(("precision", "kind"), [("int8", "int8"), ("int8", "uint8"), ("int16x8", "int16")])
def test_integer_ends_read_and_give_the_same_numbers(precision: str, kind: str, tmp_path: Path) -> None:
    g, y = cnn()
    model, plan = plan_of(g, [y], precision)
    plan = Presentation(io_dtype=kind).of(plan)  # type: ignore[arg-type]
    artifact = TFLITE.lower(model, plan, tmp_path, "m")
    (taken,), (given,) = artifact.facts["inputs"], artifact.facts["outputs"]
    assert (taken["dtype"], given["dtype"]) == (kind, kind)
    assert taken["scale"] == pytest.approx(float(plan.qparams("x").scale))  # type: ignore[union-attr]
    assert "DEQUANTIZE" not in artifact.facts["ops"]
    assert artifact.facts["ops"].get("QUANTIZE", 0) == (2 if kind == "uint8" else 0)  # 128 less, 128 more
    inner = int(plan.qparams("x").zero_point)  # type: ignore[union-attr]
    assert taken["zero_point"] == inner + (128 if kind == "uint8" else 0)
    got = TFLITE.runner(artifact, model).run(g.inputs)[y]
    (tmp_path / "f").mkdir()
    floats = TFLITE.lower(model, replace(plan, io_dtype="source"), tmp_path / "f", "m")
    want = TFLITE.runner(floats, model).run(g.inputs)[y]
    step = float(plan.qparams(y).scale)  # type: ignore[union-attr]
    assert np.abs(got - want).max() <= 1.01 * step  # an input on a tie may round the other way

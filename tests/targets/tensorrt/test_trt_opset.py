"""Graphs in older opsets: valid there, the same numbers, and refused where the opset has no form."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx_ir.passes.common import NameFixPass

from edgeport.errors import ModelError
from edgeport.targets.opset.lower import attempt, lower_opset

OPSETS = (13, 17, 18, 19, 20, 21)
IR_VERSIONS = {13: 7, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def parsed(body: str, ends: str) -> ir.Model:
    """A model from ONNX text with shapes inferred and names given."""
    proto = onnx.parser.parse_model(f'<ir_version: 11, opset_import: ["" : 24]> g {ends} {body}')
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, data_prop=True))
    NameFixPass()(model)
    return model


def run(model: ir.Model, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    data = ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, dict(feeds))


def feeds_of(model: ir.Model) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    found = {}
    for value in model.graph.inputs:
        assert value.name is not None
        assert value.dtype is not None
        assert value.shape is not None
        shape = [int(d) for d in value.shape]
        dtype = value.dtype.numpy()
        numbers = random.standard_normal(shape) if np.dtype(dtype).kind == "f" else random.integers(0, 3, shape)
        found[value.name] = numbers.astype(dtype)
    return found


REDUCTIONS = "".join(
    f"r{i} = Reduce{kind} <keepdims = 0> (p, axes) all{i} = Reduce{kind} (p) "
    f"none{i} = Reduce{kind} <noop_with_empty_axes = 1> (p, empty)"
    for i, kind in enumerate(["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare", "Sum"])
)
EVERYWHERE = {
    "reductions": (
        "(float[3, 4, 5] x) => ("
        + ", ".join(f"float[a{i}] r{i}, float[b{i}, c{i}, d{i}] all{i}, float[3, 4, 5] none{i}" for i in range(10))
        + ") <int64[2] axes = {-1, 0}, int64[0] empty = {}>",
        f"{{ p = Exp (x) {REDUCTIONS} }}",
    ),
    "split": (
        "(float[7, 4] x) => (float[3, 4] a, float[3, 4] b, float[1, 4] c, float[7, 2] d, float[7, 2] e)",
        "{ a, b, c = Split <num_outputs = 3> (x) d, e = Split <axis = 1, num_outputs = 2> (x) }",
    ),
    "pad": (
        "(float[2, 3, 4] x) => (float[2, 5, 7] y) "
        "<int64[2] axes = {-1, 1}, int64[4] pads = {1, 2, 2, 0}, float v = {1.5}>",
        "{ y = Pad (x, pads, v, axes) }",
    ),
    "shape": (
        "(float[2, 3, 4] x) => (int64[1] a, int64[2] b, int64[3] c)",
        "{ a = Shape <start = 1, end = -1> (x) b = Shape <start = -2> (x) c = Shape (x) }",
    ),
    "reshape": (
        "(float[2, 3] x) => (float[3, 2] y) <int64[2] s = {3, 2}>",
        "{ y = Reshape <allowzero = 1> (x, s) }",
    ),
    "cast": (
        "(float[4] x) => (int32[4] y)",
        '{ y = Cast <to = 6, saturate = 1, round_mode = "up"> (x) }',
    ),
    "resize": (
        "(float[1, 1, 4, 4] x) => (float[1, 1, 8, 2] y) <float[4] s = {1.0, 1.0, 2.0, 0.5}>",
        '{ y = Resize <mode = "linear", antialias = 0, keep_aspect_ratio_policy = "stretch"> (x, , s) }',
    ),
    "pools": (
        "(float[1, 2, 6, 6] x) => (float[1, 2, 3, 3] y, float[1, 2, 3, 3] z)",
        "{ y = AveragePool <kernel_shape = [2, 2], strides = [2, 2], dilations = [1, 1]> (x) "
        "z = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) }",
    ),
    "quantization": (
        "(float[2, 3] x) => (float[2, 3] y, float[2, 3] w) "
        "<float s = {0.05}, int8 z = {0}, float[3] t = {0.1, 0.2, 0.3}, int8[3] o = {0, 0, 0}>",
        "{ q = QuantizeLinear <saturate = 1, block_size = 0, precision = 0> (x, s, z) "
        "y = DequantizeLinear <block_size = 0> (q, s, z) "
        "p = QuantizeLinear <axis = 1> (x, t, o) w = DequantizeLinear <axis = 1> (p, t, o) }",
    ),
    "quantized halves": (
        "(float16[2, 3] x) => (float16[2, 3] y) <float w = {0.125}, int8 z = {0}>",
        "{ s = Cast <to = 10> (w) q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }",
    ),
    "norms": (
        "(float[2, 3, 4] x, float[3] g, float[3] b, float[3] m, float[3] v) => (float[2, 3, 4] y)",
        "{ w = Abs (v) y = BatchNormalization <training_mode = 0> (x, g, b, m, w) }",
    ),
    "elements": (
        "(float[3, 4] x, int64[3, 4] i) => (float[3, 4] y, float[3, 2] v, int64[3, 2] k, int64[3, 4] c, float[3, 4] s) "
        "<float lo = {-0.5}, float hi = {0.5}, int64[1] two = {2}, int64 axis = {1}, int64[1, 1] at = {1}, "
        "float[1, 1] u = {9.0}>",
        "{ y = Clip (x, lo, hi) v, k = TopK (x, two) f = Cast <to = 1> (i) g = CumSum (f, axis) "
        "c = Cast <to = 7> (g) s = ScatterElements <axis = 1> (x, at, u) }",
    ),
    "recurrence": (
        "(float[3, 2, 4] x, float[1, 12, 4] w, float[1, 12, 3] r) => (float[3, 1, 2, 3] y)",
        "{ y = LSTM <hidden_size = 3, layout = 0> (x, w, r) }",
    ),
}


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("name", EVERYWHERE)
def test_older_opset_computes_the_same(name: str, opset: int) -> None:
    ends, body = EVERYWHERE[name]
    model = parsed(body, ends)
    feeds = feeds_of(model)
    before = ir.to_proto(model).SerializeToString()
    lowered = lower_opset(model, opset)
    assert ir.to_proto(model).SerializeToString() == before
    assert (lowered.opset_imports[""], lowered.ir_version) == (opset, IR_VERSIONS[opset])
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    assert [value.name for value in lowered.graph.outputs] == [value.name for value in model.graph.outputs]
    assert all(value.uses() for value in lowered.graph.initializers.values())
    for got, want in zip(run(lowered, feeds), run(model, feeds), strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        # The same numbers; ONNX Runtime has another kernel for some older forms, which sums in another order.
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("opset", [17, 19, 21])
@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_grid_sample_modes(opset: int, mode: str) -> None:
    model = parsed(
        f'{{ y = GridSample <mode = "{mode}"> (x, g) }}',
        "(float[1, 2, 4, 5] x, float[1, 3, 3, 2] g) => (float[1, 2, 3, 3] y)",
    )
    feeds = feeds_of(model)
    lowered = lower_opset(model, opset)
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    np.testing.assert_array_equal(run(lowered, feeds)[0], run(model, feeds)[0])


@pytest.mark.parametrize("opset", [13, 17])
def test_bodies_of_control_flow(opset: int) -> None:
    model = parsed(
        """{
            y, all = Loop (n, , x) <body =
            b (int64 i, bool c, float[6, 4] s) => (bool d, float[6, 4] t, float[1, 4] m) {
                d = Identity (c)
                m = ReduceMean (s, axes)
                l, r = Split <num_outputs = 2> (s)
                both = Concat <axis = 0> (r, l)
                big = ReduceMax <keepdims = 0> (m)
                yes = Greater (big, zero)
                t = If (yes) <then_branch = a () => (float[6, 4] p) { k = Shape <start = 1> (both)
                    e = Cast <to = 1> (k) p = Add (both, e) },
                    else_branch = z () => (float[6, 4] q) { q = Sub (both, m) }>
            }>
        }""",
        "(float[6, 4] x) => (float[6, 4] y, float[3, 1, 4] all) "
        "<int64 n = {3}, int64[1] axes = {0}, float zero = {0.0}>",
    )
    lowered = lower_opset(model, opset)
    onnx.checker.check_model(ir.to_proto(lowered), full_check=True)
    feeds = feeds_of(model)
    for got, want in zip(run(lowered, feeds), run(model, feeds), strict=True):
        np.testing.assert_array_equal(got, want)


REFUSED = [
    ("Gelu", 19, "(float[2] x) => (float[2] y)", "{ y = Gelu (x) }", "not an operator of opset 19"),
    (
        "ReduceMean",
        17,
        "(float[2] x, int64[1] a) => (float[b] y)",
        "{ y = ReduceMean (x, a) }",
        "computed by the model",
    ),
    ("Split", 17, "(float[n] x) => (float[a] y, float[b] z)", "{ y, z = Split <num_outputs = 2> (x) }", "unknown size"),
    (
        "Reshape",
        13,
        "(float[0, 3] x) => (float[3, 0] y) <int64[2] s = {3, 0}>",
        "{ y = Reshape <allowzero = 1> (x, s) }",
        "empty tensor",
    ),
    (
        "ScatterElements",
        17,
        "(float[3] x, float[1] u) => (float[3] y) <int64[1] i = {1}>",
        '{ y = ScatterElements <reduction = "max"> (x, i, u) }',
        "larger or smaller",
    ),
    (
        "ScatterND",
        15,
        "(float[3] x, float[1] u) => (float[3] y) <int64[1, 1] i = {1}>",
        '{ y = ScatterND <reduction = "add"> (x, i, u) }',
        "reduction",
    ),
    (
        "Pad",
        17,
        "(float[3] x) => (float[5] y) <int64[2] p = {1, 1}>",
        '{ y = Pad <mode = "wrap"> (x, p) }',
        "other end",
    ),
    (
        "AveragePool",
        17,
        "(float[1, 1, 5] x) => (float[1, 1, 3] y)",
        "{ y = AveragePool <kernel_shape = [2], dilations = [2]> (x) }",
        "'dilations'",
    ),
    ("Relu", 13, "(int32[3] x) => (int32[3] y)", "{ y = Relu (x) }", "tensor(int32)"),
    (
        "GridSample",
        19,
        "(float[1, 1, 2, 2, 2] x, float[1, 2, 2, 2, 3] g) => (float[1, 1, 2, 2, 2] y)",
        "{ y = GridSample (x, g) }",
        "volumes",
    ),
    (
        "QuantizeLinear",
        17,
        "(float[4] x) => (float8e4m3fn[4] y) <float s = {1.0}, float8e4m3fn z = {0}>",
        "{ y = QuantizeLinear <saturate = 0> (x, s, z) }",
        "saturate",
    ),
]


@pytest.mark.parametrize(("op", "opset", "ends", "body", "why"), REFUSED, ids=lambda v: v if isinstance(v, str) else "")
def test_what_an_opset_cannot_say_is_refused(op: str, opset: int, ends: str, body: str, why: str) -> None:
    _, findings = attempt(parsed(body, ends), opset)
    assert [(finding.op, finding.severity) for finding in findings] == [(op, "error")]
    assert why in findings[0].message
    assert findings[0].node


def test_all_refusals_come_at_once() -> None:
    model = parsed(
        "{ a = Gelu (x) b = Swish (a) y = BitwiseNot (i) z = Relu (b) }",
        "(float[2] x, int32[2] i) => (int32[2] y, float[2] z)",
    )
    with pytest.raises(ModelError, match="ONNX opset 17: it is not an operator of opset 17 at Gelu") as caught:
        lower_opset(model, 17)
    assert [finding.op for finding in caught.value.findings] == ["Gelu", "Swish", "BitwiseNot"]
    assert "\n" not in str(caught.value)


def test_metadata_stays_behind() -> None:
    """Nodes and values have a place for it since IR version 10 only."""
    model = parsed("{ y = Relu (x) }", "(float[2] x) => (float[2] y)")
    model.graph[0].metadata_props["namespace"] = "somewhere"
    model.graph[0].outputs[0].metadata_props["note"] = "x"
    proto = ir.to_proto(lower_opset(model, 17))
    assert not proto.graph.node[0].metadata_props
    assert not proto.graph.output[0].metadata_props

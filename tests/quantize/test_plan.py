"""Assignment, plan and Q/DQ graph on small canonical graphs, compared with plain numpy arithmetic."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from edgeport.errors import CalibrationError
from edgeport.quantize.assign import assign
from edgeport.quantize.plan import bias_qparams
from edgeport.quantize.planner import make_plan
from edgeport.quantize.qdq import write_qdq
from edgeport.targets.tflite.scheme import tflite_scheme


def parse(text: str, **constants: np.ndarray) -> ir.Model:
    """A model from ONNX's text format plus constants as initializers."""
    proto = onnx.parser.parse_model(text)
    for name, array in constants.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for i, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{i}"
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def run(model: ir.Model, **feed: np.ndarray) -> list[np.ndarray]:
    """Runs without any optimization, so that nothing is fused or moved."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feed)


HEADER = '<ir_version: 10, opset_import: ["" : 21]>'
RNG = np.random.default_rng(7)


def weight(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def ranges_of(model: ir.Model, feed: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    probe = model.clone()
    values = {v.name: v for n in probe.graph for v in n.outputs} | {v.name: v for v in probe.graph.inputs}
    inner = [n for n in names if n not in feed]
    probe.graph.outputs.clear()
    probe.graph.outputs.extend(values[n] for n in inner)
    arrays = dict(zip(inner, run(probe, **feed) if inner else [], strict=True)) | feed
    return {n: (float(arrays[n].min()), float(arrays[n].max())) for n in names}


def plan_for(model: ir.Model, feed: dict[str, np.ndarray], precision: str = "int8"):
    scheme = tflite_scheme(precision)
    assignment = assign(model.graph, scheme)
    table = ranges_of(model, feed, assignment.requests)
    return assignment, make_plan(assignment, scheme, lambda name, within, symmetric: table[name], "min-max"), scheme


RESIDUAL = (
    HEADER
    + """ g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1, b1)
    r = Relu(a)
    c = Conv<pads=[1,1,1,1]>(r, w2)
    s = Add(c, r)
    t = Relu(s)
    y = Conv<pads=[1,1,1,1]>(t, w3, b3)
}"""
)


def residual() -> ir.Model:
    return parse(
        RESIDUAL, w1=weight(4, 4, 3, 3), b1=weight(4), w2=weight(4, 4, 3, 3), w3=weight(4, 4, 3, 3), b3=weight(4)
    )


def test_residual_cnn_is_integers_throughout_and_relu_stands_before_q():
    model = residual()
    feed = {"x": weight(1, 4, 8, 8)}
    assignment, plan, _ = plan_for(model, feed)
    assert {n.kernel for n in assignment.nodes.values()} == {"int8"}
    assert set(assignment.requests) == {"x", "r", "c", "t", "y"}
    assert plan.qparams("a") is None
    assert int(plan.qparams("r").zero_point) == -128


def test_qdq_graph_computes_what_the_plan_says():
    model = residual()
    feed = {"x": weight(1, 4, 8, 8)}
    _, plan, scheme = plan_for(model, feed)
    got = run(write_qdq(model, plan, scheme), **feed)[0]

    def rounded(name: str, value: np.ndarray) -> np.ndarray:
        q = plan.qparams(name)
        return q.dequantize(q.quantize(value))

    def conv(x: np.ndarray, w: str, x_name: str, b: str | None = None) -> np.ndarray:
        kernel = rounded(w, model.graph.initializers[w].const_value.numpy()).astype(np.float64)
        padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        y = np.einsum("nchwij,ocij->nohw", windows, kernel)
        if b is not None:
            q = bias_qparams(plan.qparams(x_name), plan.qparams(w))
            y = y + q.dequantize(q.quantize(model.graph.initializers[b].const_value.numpy())).reshape(1, -1, 1, 1)
        return y.astype(np.float32)

    x = rounded("x", feed["x"])
    r = rounded("r", np.maximum(conv(x, "w1", "x", "b1"), 0))
    c = rounded("c", conv(r, "w2", "r"))
    t = rounded("t", np.maximum(c + r, 0))
    want = rounded("y", conv(t, "w3", "t", "b3"))
    # Sums in float32 and float64 may fall on either side of a rounding boundary: one step, in few places.
    step = float(plan.qparams("y").scale)
    assert np.abs(got - want).max() <= 1.01 * step
    assert (np.abs(got - want) > 0.5 * step).mean() < 0.02


def test_transformer_residual_stream_stays_float():
    model = parse(
        HEADER
        + """ g (float[1,6,8] x) => (float[1,6,8] y) {
        h = LayerNormalization(x, g1, o1)
        p = MatMul(h, w1)
        q = Add(p, b1)
        s = Add(x, q)
        k = LayerNormalization(s, g1, o1)
        u = MatMul(k, w2)
        v = Add(u, b1)
        z = Add(s, v)
        y = LayerNormalization(z, g1, o1)
    }""",
        g1=np.ones(8, np.float32),
        o1=np.zeros(8, np.float32),
        w1=weight(8, 8),
        w2=weight(8, 8),
        b1=weight(8),
    )
    feed = {"x": weight(1, 6, 8)}
    assignment, plan, scheme = plan_for(model, feed)
    kernels = {n.name: n.kernel for n in assignment.nodes.values()}
    assert kernels == {
        "LayerNormalization_0": "float32",
        "MatMul_1": "int8-dynamic",  # between float operators: the activations' own scale at run time costs nothing
        "Add_2": "int8-dynamic",
        "Add_3": "float32",
        "LayerNormalization_4": "float32",
        "MatMul_5": "int8-dynamic",
        "Add_6": "int8-dynamic",
        "Add_7": "float32",
        "LayerNormalization_8": "float32",
    }
    assert plan.nodes["Add_2"].reason == "runs inside MatMul MatMul_1"
    want = run(model, **feed)[0]
    got = run(write_qdq(model, plan, scheme), **feed)[0]
    assert 10 * np.log10((want**2).sum() / ((want - got) ** 2).sum()) > 30  # two int8 products on N(0,1) data


def test_shared_bias_of_two_kernels_gets_two_scales():
    model = parse(
        HEADER + " g (float[2,8] x) => (float[2,8] y) { p = MatMul(x, w) q = Add(p, b) r = Tanh(q)"
        " s = MatMul(r, w) y = Add(s, b) }",
        w=weight(8, 8),
        b=weight(8),
    )
    feed = {"x": 50 * weight(2, 8)}
    _, plan, scheme = plan_for(model, feed)
    qdq = write_qdq(model, plan, scheme)
    scales = [n for n in qdq.graph.initializers if n.startswith("b:of:") and n.endswith(":scale")]
    assert len(scales) == 2
    arrays = [qdq.graph.initializers[n].const_value.numpy() for n in scales]
    assert not np.allclose(arrays[0], arrays[1])
    assert len([n for n in qdq.graph.initializers if n == "w:q"]) == 1


def test_concat_and_passthrough_share_parameters():
    model = parse(
        HEADER
        + """ g (float[1,4,8,8] x) => (float[1,4,4,4] y) {
        a = Conv<pads=[1,1,1,1]>(x, w1)
        m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
        b = Conv<strides=[2,2]>(x, w2)
        c = Concat<axis=1>(m, b)
        y = Conv(c, w3)
    }""",
        w1=weight(4, 4, 3, 3),
        w2=10 * weight(4, 4, 2, 2),
        w3=weight(4, 8, 1, 1),
    )
    feed = {"x": weight(1, 4, 8, 8)}
    assignment, plan, scheme = plan_for(model, feed)
    assert set(assignment.requests) == {"x", "a", "b", "y"}
    assert len({float(plan.qparams(n).scale) for n in "ambc"}) == 1
    assert "shared by 4 tensors" in plan.tensors["c"].reason
    assert run(write_qdq(model, plan, scheme), **feed)[0].shape == (1, 4, 4, 4)


def test_concat_of_a_fixed_scale_with_others_stays_float():
    model = parse(
        HEADER
        + """ g (float[1,4,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, w1)
        b = Sigmoid(a)
        c = Concat<axis=1>(a, b)
        y = Conv(c, w2)
    }""",
        w1=weight(4, 4, 1, 1),
        w2=weight(4, 8, 1, 1),
    )
    assignment, plan, _ = plan_for(model, {"x": weight(1, 4, 8, 8)})
    assert assignment.nodes["Concat_2"].kernel == "float32"
    assert "fixed quantization parameters" in assignment.nodes["Concat_2"].reason
    assert assignment.nodes["Sigmoid_1"].kernel == "float32"  # it now feeds no integer kernel


def test_graph_output_made_by_an_integer_kernel_and_read_inside_keeps_its_name():
    model = parse(
        HEADER + " g (float[2,8] x) => (float[2,8] p, float[2,8] y) { p = MatMul(x, w) y = MatMul(p, w) }",
        w=weight(8, 8),
    )
    feed = {"x": weight(2, 8)}
    _, plan, scheme = plan_for(model, feed)
    qdq = write_qdq(model, plan, scheme)
    assert [v.name for v in qdq.graph.outputs] == ["p", "y"]
    onnx.checker.check_model(ir.to_proto(qdq), full_check=True)
    p = run(qdq, **feed)[0]
    q = plan.qparams("p")
    assert np.array_equal(q.dequantize(q.quantize(p)), p)  # the output lies on its own grid


@pytest.mark.parametrize(
    ("precision", "step"), [("int8-weights", 1 / 127), ("int8-dynamic", 1 / 127), ("fp16", 2**-11)]
)
def test_weight_precisions_need_no_data_and_round_weights_only(precision, step):
    model = parse(
        HEADER + " g (float[2,8] x) => (float[2,4] y) { p = MatMul(x, w) y = Add(p, b) }", w=weight(8, 4), b=weight(4)
    )
    scheme = tflite_scheme(precision)
    assert not scheme.needs_data
    assignment = assign(model.graph, scheme)
    plan = make_plan(assignment, scheme, None, "min-max")
    x = weight(2, 8)
    w = model.graph.initializers["w"].const_value.numpy()
    got = run(write_qdq(model, plan, scheme), x=x)[0]
    q = plan.qparams("w")
    stored = w.astype(np.float16).astype(np.float32) if q is None else q.dequantize(q.quantize(w))
    assert np.abs(stored - w).max() <= np.abs(w).max() * step
    if precision == "int8-dynamic":  # each row of x is rounded to 8 bits between its extremes
        low, high = np.minimum(x.min(-1, keepdims=True), 0), np.maximum(x.max(-1, keepdims=True), 0)
        scale = (high - low) / np.float32(255)
        x = np.rint(x / scale) * scale
    want = x @ stored + model.graph.initializers["b"].const_value.numpy()
    assert np.allclose(got, want, rtol=1e-5, atol=1e-6)  # float32 summation order


def test_missing_statistics_name_the_tensor():
    model = residual()
    scheme = tflite_scheme("int8")
    assignment = assign(model.graph, scheme)
    with pytest.raises(CalibrationError, match="tensor x: .*calibrate again"):
        make_plan(assignment, scheme, lambda name, within, symmetric: {}[name], "min-max")
    with pytest.raises(CalibrationError, match="--calib"):
        make_plan(assignment, scheme, None, "min-max")


@pytest.mark.parametrize(
    ("readers", "want"),
    [
        ("y = HardSwish(c)", (-3, np.inf)),
        ("y = HardSigmoid<alpha=0.25, beta=0.5>(c)", (-2, 2)),
        ("s = Sigmoid(c) t = Tanh(c) y = Add(s, t)", (-10, 10)),
        ("h = HardSwish(c) y = Add(h, c)", (-np.inf, np.inf)),
        ("m = MaxPool<kernel_shape=[2, 2]>(c) y = HardSwish(m)", (-3, np.inf)),
        ("h = HardSwish(c) y = Conv(h, w)", (-3, np.inf)),
    ],
)
def test_integers_are_spent_on_what_readers_tell_apart(readers, want):
    text = f"{HEADER} g (float[1,4,8,8] x) => (float[1,4,H,W] y) {{ c = Conv(x, w) {readers} }}"
    model = parse(text, w=weight(4, 4, 1, 1))
    clusters = assign(model.graph, tflite_scheme("int8")).clusters
    assert [c.within for c in clusters if "c" in c.members] == [want]


@pytest.mark.parametrize(
    ("text", "floats"),
    [
        # a spectrogram: everything between the waveform and the Log is linear or a power
        ("c = Conv(x, w) m = Mul(c, c) d = Conv(m, w) e = Add(d, one) l = Log(e) y = Conv(l, w)", {"c", "d"}),
        # a network with a Log at its end: only what the rectifier stands on
        ("c = Conv(x, w) r = Relu(c) d = Conv(r, w) s = Relu(d) e = Add(s, one) y = Log(e)", {"d"}),
        # a guard against Log(0) is no activation, a Clip with two ends is
        (
            "b = Conv(x, w) q = Clip(b, zero, six) c = Conv(q, w) r = Clip(c, zero, six) d = Conv(r, w)"
            " s = Clip(d, one) y = Log(s)",
            {"c", "d"},
        ),
        # magnitudes of complex numbers; the sum of squares of a normalization is another matter
        ("c = Conv(x, w) d = Conv(x, w) e = Mul(c, c) f = Pow(d, two) g = Add(e, f) y = Sqrt(g)", {"c", "d"}),
        ("c = Conv(x, w) m = Mul(c, c) n = ReduceMean(m, axis) y = Sqrt(n)", set()),
        # probabilities are of one size
        ("c = Conv(x, w) s = Sigmoid(c) y = Log(s)", set()),
    ],
)
def test_spectra_stay_float(text, floats):
    model = parse(
        f"{HEADER} g (float[1,4,8,8] x) => (float[1,C,8,8] y) {{ {text} }}",
        w=weight(4, 4, 1, 1),
        one=np.float32(1),
        two=np.float32(2),
        axis=np.asarray([1]),
        zero=np.float32(0),
        six=np.float32(6),
    )
    plans = assign(model.graph, tflite_scheme("int8")).nodes
    products = {n.outputs[0].name: plans[n.name] for n in model.graph if n.op_type == "Conv"}
    assert {name for name, plan in products.items() if plan.kernel == "float32"} == floats
    assert all("spectrum" in products[name].reason for name in floats)

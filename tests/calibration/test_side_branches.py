"""Tensors of another form of the graph, observed in the run over the canonical one."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport.calibration import cached_collect, collect, graph_digest, open_samples
from edgeport.errors import CalibrationError
from edgeport.observed_form import form_ranges, observed_form, same_elements
from edgeport.passes import canonicalize
from edgeport.sample import InputSpec
from edgeport.side_branches import with_branches

RNG = np.random.default_rng(2)
X = RNG.normal(size=(5, 1, 6)).astype(np.float32)
SAMPLES = [{"x": x} for x in X]
SCALE = RNG.normal(size=6).astype(np.float32)
CANONICAL = "y = LayerNormalization<axis=-1>(x, g) z = Relu(y)"
WRITTEN_OUT = """
    m = ReduceMean(x, axes) d = Sub(x, m) s = Mul(d, d) v = ReduceMean(s, axes) e = Add(v, tiny) r = Sqrt(e)
    n = Div(d, r) y = Mul(n, g) z = Relu(y)
"""
CONSTANTS = {"g": SCALE, "axes": np.array([-1]), "tiny": np.float32(1e-5)}


def graph(body, given=CONSTANTS):
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 24]> g (float[1,6] x) => (float[1,6] z) {{ {body} }}'
    )
    for name, array in given.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    # Without passes: they would fuse what is written out.
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def collected(canonical, form, *names):
    return collect(with_branches(canonical, [form], names), SAMPLES, dict.fromkeys(names, "histogram"))


def test_statistics_of_tensors_that_only_the_form_has():
    canonical, form = canonicalize(graph(CANONICAL)), graph(WRITTEN_OUT)
    digest = graph_digest(canonical)
    found = collected(canonical, form, "x", "y", "d", "e")
    deviation = X - X.mean(axis=-1, keepdims=True)
    for name, values in (("d", deviation), ("e", (deviation**2).mean(axis=-1) + np.float32(1e-5))):
        assert found.tensors[name].maximum == pytest.approx(values.max(), rel=1e-5)  # sums in another order
        assert found.tensors[name].minimum == pytest.approx(values.min(), rel=1e-5)
    alone = collect(canonical, SAMPLES, {"y": "histogram"})
    assert found.tensors["y"].maximum == alone.tensors["y"].maximum
    assert graph_digest(canonical) == digest  # it was not changed


def test_only_what_is_asked_for_is_computed():
    canonical, form = canonicalize(graph(CANONICAL)), graph(WRITTEN_OUT)
    assert with_branches(canonical, [form], ["x", "y", "z"]) is canonical
    assert with_branches(canonical, [], ["d"]) is canonical
    added = [node.op_type for node in with_branches(canonical, [form, form], ["d"]).graph][2:]
    assert added == ["ReduceMean", "Sub"]
    with pytest.raises(CalibrationError, match="'d' requested, which the graph does not compute"):
        collect(canonical, SAMPLES, {"d": "histogram"})


def test_constants_with_the_same_name_and_other_numbers():
    canonical = canonicalize(graph("a = Mul(x, g) z = Relu(a)"))
    form = graph("b = Mul(x, g) c = Add(b, x) a = Sub(c, x) z = Relu(a)", {"g": 3 * SCALE})
    found = collected(canonical, form, "a", "b")
    assert found.tensors["a"].maximum == pytest.approx((X * SCALE).max(), rel=1e-6)
    assert found.tensors["b"].maximum == pytest.approx((X * 3 * SCALE).max(), rel=1e-6)


def test_a_node_that_gives_a_known_tensor_and_a_new_one():
    ends = {"zero": [0], "three": [3], "six": [6], "one": [1]}
    body = "p = Slice(x, zero, three, one) q = Slice(x, three, six, one) z = Concat<axis=1>(q, p)"
    canonical = canonicalize(graph(body, ends))
    form = graph("new, q = Split<axis=1, num_outputs=2>(x) z = Concat<axis=1>(q, new)", {})
    found = collected(canonical, form, "q", "new")
    assert found.tensors["new"].maximum == X[..., :3].max()
    assert found.tensors["q"].maximum == X[..., 3:].max()


def test_the_cache_knows_forms_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEPORT_CACHE", str(tmp_path))
    canonical = canonicalize(graph("a = Exp(x) z = Relu(a)"))
    source = open_samples(list(SAMPLES), [InputSpec("x", "float32", (1, 6))])
    ran = []
    for factor in (2.0, 3.0, 2.0):
        form = graph("b = Mul(x, f) a = Exp(x) z = Relu(a)", {"f": np.float32(factor)})
        whole = with_branches(canonical, [form], ["b"])
        found = cached_collect(whole, source, {"b": "histogram"}, progress=ran.append)
        assert found.tensors["b"].maximum == pytest.approx(factor * X.max(), rel=1e-6)
    assert len(ran) == 2 * len(SAMPLES)


def test_ranges_of_a_form():
    canonical = canonicalize(graph("a = Exp(x) z = Relu(a)"))
    body = "t = Transpose<perm=[1,0]>(x) c = Log(t) b = Mul(x, x) r = Relu(b) a = Exp(x) z = Relu(a)"
    form = observed_form(canonical, lambda _: graph(body, {}))
    assert form.observed["t"] == "x"
    assert form.requests == ("x", "c", "b", "r", "a", "z")
    statistics = collected(canonical, form.model, *form.requests)
    ranges = form_ranges(form, statistics, "min-max", symmetric=True)
    assert list(ranges) == ["x", "t", "c", "b", "r", "a", "z"]
    assert ranges["t"] == ranges["x"] == (-np.abs(X).max(), np.abs(X).max())
    assert ranges["c"] is None  # the logarithm of a negative number
    few = collect(canonical, SAMPLES, {"a": "histogram"})
    assert list(form_ranges(form, few, "mse", symmetric=True)) == ["a"]


def test_tensors_with_the_same_elements():
    groups = same_elements(
        graph("a = Transpose<perm=[1,0]>(x) b = Reshape(a, s) c = Exp(b) z = Identity(c)", {"s": [1, 6]}).graph
    )
    assert groups["x"] == groups["a"] == groups["b"] == ["x", "a", "b"]
    assert groups["c"] == groups["z"] == ["c", "z"]

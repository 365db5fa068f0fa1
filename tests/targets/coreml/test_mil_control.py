"""Branches and loops in saved Core ML packages, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_graphs import reference

from edgeport.errors import ModelError
from edgeport.passes import canonicalize
from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.target import COREML


def same(text: str, folder: Path, precision: str = "fp32", **feeds: object) -> None:
    """A model written as ONNX text gives the same in its package and in ONNX Runtime."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 24]> {text}')
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    model = canonicalize(ir.serde.deserialize_model(proto), drop=("unroll_loops", "select_branches"))
    arrays = {v.name: np.asarray(feeds[v.name], v.dtype.numpy()) for v in model.graph.inputs}
    artifact = COREML.lower(model, Plan(precision), folder, "m")
    got = COREML.runner(artifact, model).run(arrays)
    for name, want in reference(proto, arrays).items():
        assert got[name].dtype == want.dtype
        # float32: sums of a few terms; float16: 11 bits, over a few rounds
        np.testing.assert_allclose(got[name], want, rtol=1e-5 if precision == "fp32" else 5e-3, atol=1e-6)


BRANCHES = """g (bool c, float[3] x, int64[2] i) => (float[2] y, float[2] z) {
    n = Neg(x)
    y, z = If(c) <then_branch = t () => (float[2] a, float[2] b) { a = Gather(x, i) b = Gather(n, i) },
                  else_branch = e () => (float[2] d, float[2] e) { d = Gather(n, i) two = Constant<value_float = 2.0>()
                                                                   e = Mul(d, two) }>
}"""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("taken", [True, False])
def test_a_branch(tmp_path: Path, taken: bool, precision: str) -> None:
    same(BRANCHES, tmp_path, precision, c=taken, x=[1.5, 2.5, -3], i=[2, -3])


def test_a_branch_in_a_branch_and_constants_as_results(tmp_path: Path) -> None:
    text = """g (bool[1] c, bool[1] d, int64[2] x) => (int64[2] y) {
        y = If(c) <then_branch = t () => (int64[2] a) { a = Identity(x) },
                   else_branch = e () => (int64[2] b) {
            b = If(d) <then_branch = u () => (int64[2] p) { p = Constant<value_ints = [7, 8]>() },
                       else_branch = v () => (int64[2] q) { q = Add(x, x) }> }>
    }"""
    for c, d in ((True, False), (False, True), (False, False)):
        same(text, tmp_path, c=[c], d=[d], x=[1, 2])


HALVINGS = """g (float[2] x, int64 most) => (float[2] y, int64 count)
    <float one = {1.0}, int64 zero = {0}, int64 step = {1}, bool yes = {1}> {
    y, count = Loop(most, yes, x, zero) <body = b (int64 i, bool go, float[2] v, int64 n) =>
        (bool more, float[2] w, int64 m) {
            half = Constant<value_float = 0.5>()
            w = Mul(v, half)
            top = ReduceMax<keepdims = 0>(w)
            more = Greater(top, one)
            m = Add(n, step) }>
}"""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("most", [0, 2, 100])
def test_a_loop_that_ends_by_its_data(tmp_path: Path, most: int, precision: str) -> None:
    same(HALVINGS, tmp_path, precision, x=[20.0, 3.0], most=most)


def test_a_loop_of_known_count_collects(tmp_path: Path) -> None:
    text = """g (float[2] x) => (float[2] y, float[3,2] all)
        <int64 three = {3}, bool yes = {1}> {
        y, all = Loop(three, yes, x) <body = b (int64 i, bool go, float[2] v) =>
            (bool go2, float[2] w, float[2] each) {
                go2 = Identity(go) f = Cast<to = 1>(i) w = Add(v, f) each = Mul(w, v) }>
    }"""
    same(text, tmp_path, x=[0.5, -1.0])


@pytest.mark.parametrize("attributes", ["", ", scan_input_directions = [1]", ", scan_output_axes = [1]"])
@pytest.mark.parametrize("direction", [0, 1])
def test_a_scan(tmp_path: Path, attributes: str, direction: int) -> None:
    shape = "2,5" if "axes" in attributes else "5,2"
    text = f"""g (float[2] h, float[5,2] x) => (float[2] last, float[{shape}] y) {{
        last, y = Scan<num_scan_inputs = 1, scan_output_directions = [{direction}]{attributes},
            body = b (float[2] s, float[2] e) => (float[2] n, float[2] out) {{ n = Add(s, e) out = Tanh(n) }}>(h, x)
    }}"""
    same(text, tmp_path, h=[0.5, -1.0], x=np.arange(10).reshape(5, 2) / 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            """g (bool c, float[3] x) => (float[n] y) {
            y = If(c) <then_branch = t () => (float[3] a) { a = Identity(x) },
                       else_branch = e () => (float[6] b) { b = Concat<axis = 0>(x, x) }> }""",
            "static|differ",
        ),
        (
            """g (float[2] x, int64 most) => (float[2] y, float[3,2] all) <bool yes = {1}> {
            y, all = Loop(most, yes, x) <body = b (int64 i, bool go, float[2] v) =>
                (bool go2, float[2] w, float[2] e) { go2 = Identity(go) w = Neg(v) e = Neg(v) }> }""",
            "collects",
        ),
        (
            """g (bool c, float[3] x) => (float[3] y) {
            y = If(c) <then_branch = t () => (float[3] a) { a = Identity(x) },
                       else_branch = e () => (float[3] b) { b = Bernoulli(x) }> }""",
            "Bernoulli",
        ),
    ],
    ids=["shapes", "count", "operator"],
)
def test_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        same(text, tmp_path, c=True, x=[1.0, 2.0, 3.0], most=3)

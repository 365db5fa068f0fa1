"""Masks that float16 and the Neural Engine hold, and the remarks on what leaves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from edge_models import canonical, conv_net, lowered, parsed

from edgeport.quantize.plan import Plan
from edgeport.targets.coreml.evaluator.package import open_package
from edgeport.targets.coreml.evaluator.program import Constant
from edgeport.targets.coreml.evaluator.run import Evaluator
from edgeport.targets.coreml.lint import lint
from edgeport.targets.coreml.target import COREML
from edgeport.targets.finite_masks import with_finite_masks
from edgeport.targets.unit_vectors import with_unit_vectors

ALLOWED = np.tril(np.ones((1, 6, 6), np.float32))
MASKS = {
    "added": ("s = Add(x, bias) y = Softmax<axis=-1>(s)", {"bias": np.where(ALLOWED, 0, -np.inf)}),
    "chosen": (
        "b = Cast<to=9>(allowed) s = Where(b, x, low) y = Softmax<axis=-1>(s)",
        {"low": np.array(np.finfo(np.float32).min)},
    ),
    "multiplied": (
        "i = Sub(one, allowed) m = Mul(i, low) u = Reshape(m, shape) s = Add(u, x) y = Softmax<axis=-1>(s)",
        {"low": np.array(np.finfo(np.float32).min), "one": np.array(1.0), "shape": np.array([1, 6, 6])},
    ),
    "subtracted": (
        "i = Sub(one, allowed) m = Mul(i, high) s = Sub(x, m) y = Softmax<axis=-1>(s)",
        {"high": np.array(1e30), "one": np.array(1.0)},
    ),
    "of an attention": (
        "b = Cast<to=9>(allowed) m = Where(b, zero, low) u = Unsqueeze(x, first) v = Unsqueeze(allowed, first) "
        "f = Unsqueeze(m, first) t = Transpose<perm=[0,1,3,2]>(u) d = MatMul(u, t) s = Add(d, f) "
        "p = Softmax<axis=-1>(s) a = MatMul(p, v) y = Squeeze(a, first)",
        {"zero": np.array(0.0), "low": np.array(-1e9), "first": np.array([0])},
    ),
    "two of them": (
        "i = Sub(one, allowed) m = Mul(i, low) t = Add(x, bias) s = Add(t, m) y = Softmax<axis=-1>(s)",
        {"low": np.array(-1e9), "one": np.array(1.0), "bias": np.where(ALLOWED, 0, -np.inf)},
    ),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_finite_in_float16_and_do_the_same(kind: str, tmp_path: Path) -> None:
    body, constants = MASKS[kind]
    arrays = {k: v.astype(np.int64 if k in ("shape", "first") else np.float32) for k, v in constants.items()}
    model = parsed(f"net (float[1,6,6] x, float[1,6,6] allowed) => (float[1,6,6] y) {{ {body} }}", **arrays)
    graph = canonical(model)
    sample = {"x": np.random.default_rng(0).normal(size=(1, 6, 6)).astype(np.float32), "allowed": ALLOWED}
    feeds = {i.name: sample[i.name] for i in ort.InferenceSession(model.SerializeToString()).get_inputs()}
    want = ort.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    artifact = lowered(graph, tmp_path, Plan("fp16"))
    got = COREML.runner(artifact, graph).run({v.name: sample[v.name] for v in graph.graph.inputs})
    np.testing.assert_allclose(got["y"], want, atol=1e-3)  # float16 of numbers up to 1
    assert (got["y"][want == 0] == 0).all()
    evaluation = Evaluator(artifact.path, arithmetic="declared").run(feeds, keep=None)
    assert all(np.isfinite(array).all() for array in evaluation.values.values() if array.dtype.kind == "f")
    assert "s" not in COREML.runner(artifact, graph).intermediates(feeds, ["s", "y"]), "not what it is in the source"
    inner = {op.kind for op in operations(artifact.path) if op.outputs[0].type.dtype == "fp32"}
    assert inner <= {"cast", "const", "identity"}  # an input that is not read is copied; nothing computes in float32
    numbers = [i.array for op in operations(artifact.path) for v in op.inputs.values() for i in v if is_float(i)]
    assert all(np.abs(array.astype(np.float32)).max() <= 40000 + 32 for array in numbers)  # a step of float16 there


@pytest.mark.parametrize("guard", ["Clip(n, least)", "Max(least, n)"])
def test_unit_vectors_stay_in_float16(guard: str, tmp_path: Path) -> None:
    text = f"net (float[4,16] x) => (float[4,16] y) {{ n = ReduceL2<axes=[1]>(x) g = {guard} y = Div(x, g) }}"
    model = parsed(text, least=np.float32(1e-12))
    x = np.random.default_rng(0).normal(size=(4, 16)).astype(np.float16).astype(np.float32)
    x[1:] *= np.array([0, 2**-10, 1000], np.float32)[:, None]  # nothing, below and beyond what float16 squares
    want = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    artifact = lowered(canonical(model), tmp_path, Plan("fp16"))
    got = COREML.runner(artifact, canonical(model)).run({"x": x})["y"]
    np.testing.assert_allclose(got, want, rtol=2**-8, atol=1e-5)  # a row's largest, its quotients and its norm: halves
    assert {op.kind for op in operations(artifact.path) if op.outputs[0].type.dtype == "fp32"} <= {"cast", "const"}


def test_a_guard_that_float16_holds_is_none_of_unit_vectors() -> None:
    text = "net (float[4,16] x) => (float[4,16] y) { n = ReduceL2<axes=[1]>(x) g = Clip(n, least) y = Div(x, g) }"
    graph = canonical(parsed(text, least=np.float32(1e-3)))
    assert with_unit_vectors(graph, Plan("fp16")) is graph


def operations(path: Path):
    package = open_package(path)
    return package.interfaces[package.default].function.block.operations


def is_float(argument: object) -> bool:
    return isinstance(argument, Constant) and argument.array is not None and argument.array.dtype.kind == "f"


def test_what_else_reads_a_mask_keeps_it() -> None:
    shared = parsed(
        "net (float[2,3] x) => (float[2,3] y, float[2,3] s) { s = Add(x, bias) y = Softmax<axis=-1>(s) }",
        bias=np.array([0, 0, -1e9], np.float32),
    )
    graph = canonical(shared)
    assert with_finite_masks(graph, Plan("fp16")) is graph
    small = parsed(
        "net (float[2,3] x) => (float[2,3] y) { s = Add(x, bias) y = Softmax<axis=-1>(s) }",
        bias=np.array([0, 0, -1e4], np.float32),
    )
    graph = canonical(small)
    assert with_finite_masks(graph, Plan("fp16")) is graph


def test_remarks_name_what_leaves_the_neural_engine(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = """net (float[1,4,64,64] x, int64[1] at) => (float[1,4,15,15] c, float[1,1,64,64] g) {
        d = Conv<dilations=[2,2], pads=[2,2,2,2]>(x, w)
        c = Conv<strides=[4,4]>(d, v)
        g = Gather<axis=1>(x, at)
    }"""
    weights = {"w": rng.normal(size=(4, 4, 3, 3)), "v": rng.normal(size=(4, 4, 5, 5))}
    model = parsed(text, **{k: a.astype(np.float32) for k, a in weights.items()})
    (tmp_path / "wide").mkdir()
    wide = lowered(canonical(model), tmp_path / "wide", Plan("fp32"))
    assert not [f for f in wide.findings if f.code == "neural-engine"]  # float32 is what was asked for
    (remark,) = lint(open_package(wide.path), {})
    assert "the program computes in float32" in remark.message
    artifact = lowered(canonical(model), tmp_path, Plan("fp16"))
    said = " | ".join(f.message for f in artifact.findings if f.code == "neural-engine")
    assert "are of kinds that it does not run: g" in said
    assert "are dilated convolutions: d (conv)" in said
    assert "stride" not in said
    plain = lowered(canonical(conv_net(0, 40)), tmp_path / "wide", Plan("fp16"))
    assert not [f for f in lint(open_package(plain.path), {}) if "window" not in f.message and "axis" not in f.message]
    assert "a window wider than 13: s (conv)" in " ".join(f.message for f in plain.findings)

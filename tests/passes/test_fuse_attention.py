"""Attention in the spellings of the exporters, with masks of every shape; and what must not be fused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
LOWEST = float(np.finfo(np.float32).min)
CONSTANTS = {
    "scale": np.float32(0.35355339),
    "root": np.float32(0.59460354),
    "by": np.float32(2.8284271),
    "zero": np.float32(0),
    "low": np.float32(LOWEST),
    "ninf": np.float32(-np.inf),
    "big": np.float32(-1e9),
}
# B, H, S, T, D, E = 2, 3, 5, 7, 8, 4
SPLIT = "float[2,3,5,8] q, float[2,3,7,8] k, float[2,3,7,4] v"
KT = "kt = Transpose<perm = [0, 1, 3, 2]>(k)"


def model(body: str, inputs: str = SPLIT, outputs: str = "y") -> onnx.ModelProto:
    listed = ", ".join(f"float {name}" for name in outputs.split())
    proto = onnx.parser.parse_model(f"{HEAD} g ({inputs}) => ({listed}) {{ {body} }}")
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


PLAIN = {
    "scaled scores": f"{KT} s = MatMul(q, kt) c = Mul(s, scale) p = Softmax(c) y = MatMul(p, v)",
    "divided scores": f"{KT} s = MatMul(q, kt) c = Div(s, by) p = Softmax<axis = 3>(c) y = MatMul(p, v)",
    "scaled q": f"{KT} c = Mul(scale, q) s = MatMul(c, kt) p = Softmax(s) y = MatMul(p, v)",
    "scaled k": f"{KT} c = Mul(kt, scale) s = MatMul(q, c) p = Softmax(s) y = MatMul(p, v)",
    "k scaled before": "c = Mul(k, scale) kt = Transpose<perm = [0, 1, 3, 2]>(c) s = MatMul(q, kt) p = Softmax(s) "
    "y = MatMul(p, v)",
    "root on both": f"{KT} a = Mul(q, root) b = Mul(kt, root) s = MatMul(a, b) p = Softmax(s) y = MatMul(p, v)",
    "no scale": f"{KT} s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, v)",
    "dropout": f"{KT} s = MatMul(q, kt) c = Mul(s, scale) p = Softmax(c) d = Dropout(p) y = MatMul(d, v)",
}


@pytest.mark.parametrize("name", PLAIN)
def test_fused(check, name):
    checked = check(model(PLAIN[name]), initializers=CONSTANTS)
    assert checked.ops == {"Attention": 1}
    attention = checked.node("Attention")
    assert attention.outputs[0].name == "y"
    assert attention.attributes["scale"].as_float() == pytest.approx(1.0 if name == "no scale" else 0.35355339)


def test_k_transposed_together_with_its_heads(check):
    body = "kt = Transpose<perm = [0, 2, 3, 1]>(k) s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, v)"
    checked = check(model(body, "float[2,3,5,8] q, float[2,7,3,8] k, float[2,3,7,4] v"))
    assert checked.ops == {"Attention": 1, "Transpose": 1}
    assert list(checked.node("Transpose").attributes["perm"].as_ints()) == [0, 2, 1, 3]


def test_k_that_comes_transposed(check):
    body = "s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v)"
    checked = check(model(body, "float[2,3,5,8] q, float[2,3,8,7] k, float[2,3,7,4] v"))
    assert checked.ops == {"Attention": 1, "Transpose": 1}


def test_three_dimensional_products(check):
    body = "kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(q, kt) c = Add(s, m) p = Softmax(c) y = MatMul(p, v)"
    inputs = "float[6,5,8] q, float[6,7,8] k, float[6,7,4] v, float[6,5,7] m"
    checked = check(model(body, inputs))
    assert checked.ops["Attention"] == 1
    assert checked.ops["Reshape"] == 5


MASKED = f"{KT} s = MatMul(q, kt) c = Mul(s, scale) a = Add(c, m) p = Softmax(a) y = MatMul(p, v)"


@pytest.mark.parametrize("shape", ["2,1,1,7", "2,1,5,7", "1,1,5,7", "2,3,5,7", "1,3,1,7", "5,7", "1,7", "3,5,7"])
@pytest.mark.parametrize("masked", [-1e4, -1e9, -3.4e38, LOWEST])
def test_masks_are_kept_apart(check, shape, masked):
    dims = tuple(int(d) for d in shape.split(","))
    random = np.random.default_rng(1)
    mask = np.where(random.random(dims) < 0.4, np.float32(masked), np.float32(0)).astype(np.float32)
    mask[..., 0, :] = masked  # fully masked queries (all of them where the mask is shared by the queries)
    proto = model(MASKED, f"{SPLIT}, float[{shape}] m")
    feeds = {
        name: random.standard_normal(d).astype(np.float32)
        for name, d in (("q", (2, 3, 5, 8)), ("k", (2, 3, 7, 8)), ("v", (2, 3, 7, 4)))
    }
    # at -1e4 the sum score + mask keeps 2^-10: both sides round the same sum, but in another order of scaling
    checked = check(
        proto, initializers=CONSTANTS, feeds={**feeds, "m": mask}, tolerance=2e-3 if masked == -1e4 else 1e-5
    )
    assert checked.ops["Attention"] == 1
    assert len(checked.node("Attention").inputs) == 4


@pytest.mark.parametrize("value", ["low", "big"])
def test_a_mask_made_of_constants_needs_no_clip(check, value):
    body = f"m = Where(keep, zero, {value}) {MASKED}"
    checked = check(model(body, f"{SPLIT}, bool[2,1,5,7] keep"), initializers=CONSTANTS, seeds=(0, 1))
    assert checked.ops == {"Where": 1, "Attention": 1}


def test_partly_infinite_masks(check):
    mask = np.zeros((2, 1, 5, 7), np.float32)
    mask[..., 4:] = -np.inf
    checked = check(model(MASKED), initializers={**CONSTANTS, "m": mask})
    assert checked.ops == {"Attention": 1}


def test_a_constant_mask_is_spread_over_the_queries(check):
    mask = np.where(np.arange(7) < 5, 0, LOWEST).astype(np.float32).reshape(1, 1, 1, 7)
    checked = check(model(MASKED), initializers={**CONSTANTS, "m": mask})
    assert checked.ops == {"Attention": 1}
    assert tuple(checked.node("Attention").inputs[3].shape) == (1, 1, 5, 7)


def test_one_mask_for_many_layers_is_prepared_once(check):
    body = (
        f"{MASKED} kt2 = Transpose<perm = [0, 1, 3, 2]>(k2) s2 = MatMul(q2, kt2) a2 = Add(m, s2) p2 = Softmax(a2) "
        "z = MatMul(p2, v)"
    )
    inputs = f"{SPLIT}, float[2,3,5,8] q2, float[2,3,7,8] k2, float[2,1,1,7] m"
    checked = check(model(body, inputs, "y z"), initializers=CONSTANTS)
    assert checked.ops == {"Clip": 1, "Expand": 1, "Attention": 2}


NOT = {
    "softmax over another axis": f"{KT} s = MatMul(q, kt) p = Softmax<axis = 1>(s) y = MatMul(p, v)",
    "negative scale": f"{KT} s = MatMul(q, kt) c = Mul(s, ninf_free) p = Softmax(c) y = MatMul(p, v)",
    "weights are read": f"{KT} s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, v) z = Relu(p)",
    "scores are read": f"{KT} s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, v) z = Relu(s)",
    "masked by Where": f"{KT} s = MatMul(q, kt) g = Greater(s, zero) c = Where(g, s, big) p = Softmax(c) "
    "y = MatMul(p, v)",
    "scale after the mask": f"{KT} s = MatMul(q, kt) a = Add(s, row) c = Mul(a, scale) p = Softmax(c) y = MatMul(p, v)",
    "scale per key": f"{KT} s = MatMul(q, kt) c = Mul(s, row) p = Softmax(c) n = Neg(p) y = MatMul(n, v)",
}


@pytest.mark.parametrize("name", NOT)
def test_not_fused(check, name):
    constants = {**CONSTANTS, "ninf_free": np.float32(-0.5), "row": np.arange(1, 8, dtype=np.float32)}
    body = NOT[name]
    checked = check(model(body, outputs="y z" if "z =" in body else "y"), initializers=constants)
    assert "Attention" not in checked.ops


def test_weights_on_the_right(check):
    body = f"{KT} s = MatMul(q, kt) p = Softmax(s) t = Transpose<perm = [0, 1, 3, 2]>(p) y = MatMul(v, t)"
    checked = check(model(body, "float[2,3,5,8] q, float[2,3,7,8] k, float[2,3,4,7] v"))
    assert checked.ops == {"Attention": 1, "Transpose": 2}


def test_broadcast_heads_are_not_fused(check):
    body = f"{KT} s = MatMul(q, kt) p = Softmax(s) y = MatMul(p, v)"
    checked = check(model(body, "float[2,3,5,8] q, float[2,1,7,8] k, float[2,1,7,4] v"))
    assert "Attention" not in checked.ops


def test_a_mask_over_the_queries_only_is_not_fused(check):
    checked = check(model(MASKED, f"{SPLIT}, float[2,1,5,1] m"), initializers=CONSTANTS)
    assert "Attention" not in checked.ops


WHERE = f"{KT} s = MatMul(q, kt) c = Mul(s, scale)"
SEVERAL = {
    "condition keeps": (f"{WHERE} a = Where(keep, c, low) p = Softmax(a) y = MatMul(p, v)", {"Where": 1}),
    "condition drops": (f"{WHERE} a = Where(keep, big, c) p = Softmax(a) y = MatMul(p, v)", {"Where": 1}),
    "constant triangle": (f"{WHERE} a = Where(tri, c, ninf) p = Softmax(a) y = MatMul(p, v)", {}),
    "triangle and bias": (f"{WHERE} a = Where(tri, c, low) b = Add(a, m) p = Softmax(b) y = MatMul(p, v)", {}),
    "bias under a condition": (f"{WHERE} b = Add(c, m) a = Where(keep, b, low) p = Softmax(a) y = MatMul(p, v)", {}),
    "two constants": (f"{WHERE} a = Add(c, bias) b = Add(tril, a) p = Softmax(b) y = MatMul(p, v)", {}),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_masks_are_joined(check, name):
    body, others = SEVERAL[name]
    random = np.random.default_rng(3)
    triangle = np.tril(np.ones((1, 1, 5, 7), bool))
    constants = {
        "tri": triangle,
        "tril": np.where(triangle, 0, LOWEST).astype(np.float32),
        "bias": random.standard_normal((1, 3, 5, 7)).astype(np.float32),
    }
    mask = np.where(random.random((2, 1, 1, 7)) < 0.6, 0, LOWEST).astype(np.float32)
    mask[..., 0] = 0  # no row without keys: PyTorch's own result there depends on how low meets low
    feeds = {n: random.standard_normal(d).astype(np.float32) for n, d in (("q", (2, 3, 5, 8)), ("k", (2, 3, 7, 8)))}
    feeds |= {"v": random.standard_normal((2, 3, 7, 4)).astype(np.float32), "m": mask}
    feeds |= {"keep": random.random((2, 1, 5, 7)) < 0.5}
    declared = {"m": "float[2,1,1,7] m", "keep": "bool[2,1,5,7] keep"}
    used = {n: text for n, text in declared.items() if f"({n}," in body or f", {n})" in body}
    proto = model(body, ", ".join([SPLIT, *used.values()]))
    given = {i.name: feeds[i.name] for i in proto.graph.input}
    checked = check(proto, initializers={**CONSTANTS, **constants}, feeds=given)
    assert checked.ops["Attention"] == 1
    assert "Softmax" not in checked.ops
    if "m" not in used:
        assert checked.ops == {"Attention": 1, **others}


def test_a_key_that_two_masks_forbid_lies_below_one_that_one_forbids(check):
    body = f"{WHERE} a = Where(tri, c, low) b = Add(a, m) p = Softmax(b) y = MatMul(p, v)"
    mask = np.full((2, 1, 1, 7), LOWEST, np.float32)  # the first queries see forbidden keys only
    mask[..., 4:] = 0
    random = np.random.default_rng(3)
    feeds = {
        name: random.standard_normal(d).astype(np.float32)
        for name, d in (("q", (2, 3, 5, 8)), ("k", (2, 3, 7, 8)), ("v", (2, 3, 7, 4)))
    }
    triangle = np.tril(np.ones((1, 1, 5, 7), bool))
    proto = model(body, f"{SPLIT}, float[2,1,1,7] m")
    checked = check(proto, initializers={**CONSTANTS, "tri": triangle}, feeds={**feeds, "m": mask})
    assert checked.ops["Attention"] == 1


@pytest.mark.parametrize("low", ["ninf", "low"])
@pytest.mark.parametrize("fed", [True, False])
def test_weights_that_are_guarded_against_nan(check, low, fed):
    body = f"m = Where(keep, zero, {low}) {WHERE} a = Add(c, m) p = Softmax(a) n = IsNaN(p) g = Where(n, zero, p) "
    keep = np.random.default_rng(4).random((2, 1, 5, 7)) < 0.5
    keep[:, :, 1] = False
    proto = model(f"{body} y = MatMul(g, v)", f"{SPLIT}, bool[2,1,5,7] keep" if fed else SPLIT)
    random = np.random.default_rng(3)
    feeds = {
        name: random.standard_normal(d).astype(np.float32)
        for name, d in (("q", (2, 3, 5, 8)), ("k", (2, 3, 7, 8)), ("v", (2, 3, 7, 4)))
    }
    constants = CONSTANTS if fed else {**CONSTANTS, "keep": keep}
    checked = check(proto, initializers=constants, feeds={**feeds, **({"keep": keep} if fed else {})})
    assert checked.ops["Attention"] == 1
    assert "Softmax" not in checked.ops
    assert "IsNaN" not in checked.ops


def test_a_mask_behind_windows(check):
    body = (
        f"{WHERE} b = Add(c, bias) w = Reshape(b, windows) a = Add(w, shift) r = Reshape(a, whole) p = Softmax(r) "
        "y = MatMul(p, v)"
    )
    random = np.random.default_rng(5)
    constants = {
        "bias": random.standard_normal((1, 3, 5, 7)).astype(np.float32),
        "shift": np.where(random.random((1, 2, 1, 5, 7)) < 0.3, np.float32(-100), np.float32(0)),
        "windows": np.array([2, 2, 3, 5, 7], np.int64),
        "whole": np.array([-1, 3, 5, 7], np.int64),
    }
    checked = check(model(body, SPLIT.replace("[2,", "[4,")), initializers={**CONSTANTS, **constants})
    assert checked.ops == {"Attention": 1}
    assert tuple(checked.node("Attention").inputs[3].shape) == (4, 3, 5, 7)


def test_a_mask_of_heads_in_the_batch(check):
    body = (
        "kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(q, kt) w = Reshape(s, apart) a = Add(w, m) "
        "r = Reshape(a, together) p = Softmax(r) y = MatMul(p, v)"
    )
    constants = {"apart": np.array([2, 3, 5, 7], np.int64), "together": np.array([6, 5, 7], np.int64)}
    inputs = "float[6,5,8] q, float[6,7,8] k, float[6,7,4] v, float[2,1,1,7] m"
    checked = check(model(body, inputs), initializers=constants)
    assert checked.ops == {"Attention": 1, "Reshape": 4, "Clip": 1, "Expand": 1}


@pytest.mark.parametrize("spread", [True, False])
def test_repeated_heads_are_not_repeated(check, spread):
    names = "kv" if spread else "v"  # else only the heads of v are repeated
    repeat = "{0}1 = Unsqueeze({0}, two) {0}2 = Expand({0}1, {0}wide) {0}3 = Reshape({0}2, {0}end) "
    body = "".join(repeat.format(name) for name in names)
    constants = {"two": np.array([2], np.int64)}
    for name, depth in (("k", 8), ("v", 4)):
        constants[f"{name}wide"] = np.array([2, 2, 3, 7, depth], np.int64)
        constants[f"{name}end"] = np.array([2, 6, 7, depth], np.int64)
    body += f"kt = Transpose<perm = [0, 1, 3, 2]>({'k3' if spread else 'k'}) s = MatMul(q, kt) p = Softmax(s) "
    inputs = f"float[2,6,5,8] q, float[2,{2 if spread else 6},7,8] k, float[2,2,7,4] v"
    checked = check(model(f"{body} y = MatMul(p, v3)", inputs), initializers=constants)
    assert checked.ops["Attention"] == 1
    assert checked.ops.get("Expand", 0) == (0 if spread else 1)


def test_a_batch_of_one_that_matmul_adds(check):
    body = (
        "kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(q, kt) a = Add(s, m) r = Reshape(a, together) p = Softmax(r) "
        "y = MatMul(p, v)"
    )
    inputs = "float[1,3,5,8] q, float[3,7,8] k, float[3,7,4] v, float[1,1,1,7] m"
    checked = check(model(body, inputs), initializers={"together": np.array([3, 5, 7], np.int64)})
    assert checked.ops["Attention"] == 1

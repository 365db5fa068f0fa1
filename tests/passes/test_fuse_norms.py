"""Layer and RMS normalization written out, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
AXES = "ax = Constant<value_ints = [-1]>() two = Constant<value_float = 2.0>() eps = Constant<value_float = 0.00001>()"
CENTER = "m = ReduceMean(x, ax) d = Sub(x, m)"
SPREAD = "p = Pow(d, two) v = ReduceMean(p, ax) e = Add(v, eps) s = Sqrt(e)"
AFFINE = "g = Mul(n, gamma) y = Add(g, beta)"
WEIGHTS = {"gamma": np.linspace(0.5, 2, 6, dtype=np.float32), "beta": np.linspace(-1, 1, 6, dtype=np.float32)}


def model(body: str, outputs: str = "float[2,5,6] y", shape: str = "2,5,6") -> str:
    return f"{HEAD} g (float[{shape}] x) => ({outputs}) {{ {AXES} {body} }}"


LAYER = {
    "usual": f"{CENTER} {SPREAD} n = Div(d, s) {AFFINE}",
    "squared by product": f"{CENTER} p = Mul(d, d) v = ReduceMean(p, ax) e = Add(eps, v) s = Sqrt(e) "
    f"n = Div(d, s) {AFFINE}",
    "reciprocal": f"{CENTER} {SPREAD} r = Reciprocal(s) n = Mul(r, d) {AFFINE}",
    "one over": f"{CENTER} {SPREAD} one = Constant<value_float = 1.0>() r = Div(one, s) n = Mul(d, r) {AFFINE}",
    "power": f"{CENTER} p = Pow(d, two) v = ReduceMean(p, ax) e = Add(v, eps) h = Constant<value_float = -0.5>() "
    f"r = Pow(e, h) n = Mul(d, r) {AFFINE}",
    "deviation twice": "m = ReduceMean(x, ax) d = Sub(x, m) d2 = Sub(x, m) p = Pow(d2, two) v = ReduceMean(p, ax) "
    f"e = Add(v, eps) s = Sqrt(e) n = Div(d, s) {AFFINE}",
    "factors reversed": f"{CENTER} {SPREAD} n = Div(d, s) g = Mul(gamma, n) y = Add(beta, g)",
}


@pytest.mark.parametrize("name", LAYER)
def test_layer_norm(check, name):
    checked = check(model(LAYER[name]), initializers=WEIGHTS)
    assert checked.ops == {"LayerNormalization": 1}
    node = checked.node("LayerNormalization")
    assert node.outputs[0].name == "y"
    assert node.attributes["axis"].as_int() == -1


def test_layer_norm_without_affine(check):
    assert check(model(f"{CENTER} {SPREAD} y = Div(d, s)")).ops == {"LayerNormalization": 1}


def test_layer_norm_with_only_a_factor(check):
    checked = check(
        model(f"{CENTER} {SPREAD} n = Div(d, s) y = Mul(n, gamma)"), initializers={"gamma": WEIGHTS["gamma"]}
    )
    assert checked.ops == {"LayerNormalization": 1}


def test_layer_norm_over_two_axes(check):
    weights = {"gamma": np.ones((5, 1), np.float32) * 2, "beta": np.zeros((1, 5, 6), np.float32) + 1}
    text = model(LAYER["usual"]).replace("[-1]", "[1, 2]")
    checked = check(text, initializers=weights)
    assert checked.ops == {"LayerNormalization": 1}
    assert tuple(checked.node("LayerNormalization").inputs[1].shape) == (5, 6)


NOT_LAYER = {
    "another axis": LAYER["usual"].replace(
        "v = ReduceMean(p, ax)", "a1 = Constant<value_ints = [1]>() v = ReduceMean(p, a1)"
    ),
    "means over the first axes": LAYER["usual"]
    .replace("ReduceMean(x, ax)", "ReduceMean(x, a0)")
    .replace("ReduceMean(p, ax)", "ReduceMean(p, a0)"),
    "cubed": LAYER["usual"].replace("Pow(d, two)", "Pow(d, three)"),
    "epsilon per element": LAYER["usual"].replace("Add(v, eps)", "Add(v, gamma)"),
    "another deviation": LAYER["usual"].replace("Div(d, s)", "Div(x, s)"),
    "no epsilon": LAYER["usual"].replace("e = Add(v, eps) s = Sqrt(e)", "s = Sqrt(v)"),
    "upside down": LAYER["usual"].replace("Div(d, s)", "Div(s, d)"),
}


@pytest.mark.parametrize("name", NOT_LAYER)
def test_not_a_layer_norm(check, name):
    prefix = "a0 = Constant<value_ints = [0, 1]>() three = Constant<value_float = 3.0>() "
    # the third power of a float32 deviation may be negative: its root is NaN before and after
    checked = check(model(prefix + NOT_LAYER[name]), initializers=WEIGHTS)
    assert "LayerNormalization" not in checked.ops


@pytest.mark.parametrize("inside", ["m", "d", "v", "s"])
def test_layer_norm_with_another_reader_is_not_fused(check, inside):
    shape = "2,5,6" if inside == "d" else "2,5,1"
    text = model(LAYER["usual"], f"float[2,5,6] y, float[{shape}] {inside}")
    assert "LayerNormalization" not in check(text, initializers=WEIGHTS).ops


def test_a_factor_over_the_wrong_axis_stays_outside(check):
    text = model(f"{CENTER} {SPREAD} n = Div(d, s) y = Mul(n, gamma)")
    weights = {"gamma": np.arange(1, 6, dtype=np.float32).reshape(5, 1)}
    assert check(text, initializers=weights).ops == {"LayerNormalization": 1, "Mul": 1}


RMS_SPREAD = "p = Pow(x, two) v = ReduceMean(p, ax) e = Add(v, eps)"
RMS = {
    "division": f"{RMS_SPREAD} s = Sqrt(e) n = Div(x, s) y = Mul(n, gamma)",
    "reciprocal": f"{RMS_SPREAD} s = Sqrt(e) r = Reciprocal(s) n = Mul(x, r) y = Mul(gamma, n)",
    "product": "p = Mul(x, x) v = ReduceMean(p, ax) e = Add(v, eps) s = Sqrt(e) n = Div(x, s) y = Mul(n, gamma)",
    "without factor": f"{RMS_SPREAD} s = Sqrt(e) y = Div(x, s)",
}


@pytest.mark.parametrize("name", RMS)
def test_rms_norm(check, name):
    assert check(model(RMS[name]), initializers={"gamma": WEIGHTS["gamma"]}).ops == {"RMSNormalization": 1}


def test_not_an_rms_norm(check):
    other = RMS["division"].replace("Div(x, s)", "Div(h, s)")
    text = model(f"h = Relu(x) {other}")
    assert "RMSNormalization" not in check(text, initializers={"gamma": WEIGHTS["gamma"]}).ops


GROUPS = {"group": np.array([2, 3, -1], np.int64), "whole": np.array([2, 6, 4, 5], np.int64)} | {
    name: np.random.default_rng(i).standard_normal(shape).astype(np.float32)
    for i, (name, shape) in enumerate({"a": 3, "b": 3, "g": (6, 1, 1), "s": (1, 6, 1, 1)}.items())
}


@pytest.mark.parametrize("tail", ["m = Mul(c, g) y = Add(m, s)", "y = Add(c, s)", "y = Mul(g, c)", "y = Identity(c)"])
def test_group_norm(check, tail):
    body = f"r = Reshape(x, group) i = InstanceNormalization(r, a, b) c = Reshape(i, whole) {tail}"
    source = f'<ir_version: 10, opset_import: ["": 24]> g (float[2,6,4,5] x) => (float[2,6,4,5] y) {{ {body} }}'
    checked = check(source, initializers=GROUPS)
    assert checked.ops == {"GroupNormalization": 1}
    assert checked.node("GroupNormalization").attributes["num_groups"].as_int() == 3


def test_group_norm_of_other_groups_stays(check):
    body = "r = Reshape(x, group) i = InstanceNormalization(r, a, b) y = Reshape(i, flat)"
    source = f'<ir_version: 10, opset_import: ["": 24]> g (float[2,6,4,5] x) => (float[2,120] y) {{ {body} }}'
    checked = check(source, initializers={**GROUPS, "flat": np.array([2, 120], np.int64)})
    assert "GroupNormalization" not in checked.ops

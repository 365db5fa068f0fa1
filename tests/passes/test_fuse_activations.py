"""Gelu, Swish, HardSigmoid, HardSwish and clips in every spelling; and what looks like them but is not."""

from __future__ import annotations

import pytest

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
CONSTANTS = """
    one = Constant<value_float = 1.0>() half = Constant<value_float = 0.5>()
    root2 = Constant<value_float = 1.41421356>()
    inv = Constant<value_float = 0.70710678>() short = Constant<value_float = 0.7071>()
    three = Constant<value_float = 3.0>() six = Constant<value_float = 6.0>() zero = Constant<value_float = 0.0>()
    sixth = Constant<value_float = 0.16666667>() c = Constant<value_float = 0.044715>()
    k = Constant<value_float = 0.7978845608>() two = Constant<value_float = 2.0>()
    wrong = Constant<value_float = 0.72>()
    alpha = Constant<value_float = 1.702>() minus = Constant<value_float = -1.0>()
"""

FUSED = {
    "gelu by division": ("d = Div(x, root2) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)", "Gelu"),
    "gelu half first": ("d = Mul(inv, x) e = Erf(d) a = Add(one, e) h = Mul(half, x) y = Mul(a, h)", "Gelu"),
    "gelu half on the bracket": ("d = Mul(x, short) e = Erf(d) a = Add(e, one) h = Mul(a, half) y = Mul(x, h)", "Gelu"),
    "gelu multiplied out": ("d = Mul(x, inv) e = Erf(d) h = Mul(e, half) a = Add(h, half) y = Mul(a, x)", "Gelu"),
    "gelu halved by division": ("d = Mul(x, inv) e = Erf(d) a = Add(e, one) m = Mul(a, x) y = Div(m, two)", "Gelu"),
    "gelu tanh with Pow": (
        "p = Pow(x, three) q = Mul(p, c) s = Add(x, q) u = Mul(s, k) t = Tanh(u) a = Add(t, one) m = Mul(x, a) "
        "y = Mul(half, m)",
        "Gelu",
    ),
    "gelu tanh with products": (
        "x2 = Mul(x, x) x3 = Mul(x2, x) q = Mul(c, x3) s = Add(q, x) u = Mul(k, s) t = Tanh(u) a = Add(one, t) "
        "h = Mul(x, half) y = Mul(h, a)",
        "Gelu",
    ),
    "gelu tanh factored": (
        "x2 = Mul(x, x) q = Mul(c, x2) b = Add(one, q) xk = Mul(x, k) u = Mul(xk, b) t = Tanh(u) a = Add(t, one) "
        "h = Mul(x, half) y = Mul(h, a)",
        "Gelu",
    ),
    "swish": ("s = Sigmoid(x) y = Mul(x, s)", "Swish"),
    "swish reversed": ("s = Sigmoid(x) y = Mul(s, x)", "Swish"),
    "swish with alpha": ("u = Mul(alpha, x) s = Sigmoid(u) y = Mul(x, s)", "Swish"),
    "hard sigmoid": ("u = Add(x, three) v = Clip(u, zero, six) y = Div(v, six)", "HardSigmoid"),
    "hard sigmoid by product": ("u = Add(three, x) v = Clip(u, zero, six) y = Mul(sixth, v)", "HardSigmoid"),
    "hard sigmoid scaled first": ("u = Mul(x, sixth) w = Add(u, half) y = Clip(w, zero, one)", "HardSigmoid"),
    "hard sigmoid by bounds": ("u = Add(x, three) r = Relu(u) v = Min(r, six) y = Div(v, six)", "HardSigmoid"),
    "hard swish": ("u = Add(x, three) v = Clip(u, zero, six) w = Div(v, six) y = Mul(x, w)", "HardSwish"),
    "hard swish product first": ("u = Add(x, three) v = Clip(u, zero, six) w = Mul(x, v) y = Div(w, six)", "HardSwish"),
    "hard swish of hard sigmoid": ("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(h, x)", "HardSwish"),
    "clip after relu": ("r = Relu(x) y = Clip(r, minus, one)", "Clip"),
    "min after max": ("r = Max(x, minus) y = Min(one, r)", "Clip"),
    "relu from max": ("y = Max(x, zero)", "Relu"),
    "relu from clip": ("y = Clip(x, zero)", "Relu"),
    "relu twice": ("r = Relu(x) y = Relu(r)", "Relu"),
}

NOT_FUSED = {
    "wrong constant in erf": ("d = Mul(x, wrong) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)", "Gelu"),
    "wrong outer constant": ("d = Mul(x, inv) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, two)", "Gelu"),
    "erf of something else": (
        "n = Relu(x) d = Mul(n, inv) e = Erf(d) a = Add(e, one) m = Mul(x, a) y = Mul(m, half)",
        "Gelu",
    ),
    "wrong cubic": (
        "p = Pow(x, two) q = Mul(p, c) s = Add(x, q) u = Mul(s, k) t = Tanh(u) a = Add(t, one) m = Mul(x, a) "
        "y = Mul(half, m)",
        "Gelu",
    ),
    "sigmoid of something else": ("n = Relu(x) s = Sigmoid(n) y = Mul(x, s)", "Swish"),
    "swish with negative alpha": ("u = Mul(x, minus) s = Sigmoid(u) y = Mul(x, s)", "Swish"),
    "sigmoid plus x": ("s = Sigmoid(x) y = Add(x, s)", "Swish"),
    "shifted sigmoid": ("u = Add(x, one) s = Sigmoid(u) y = Mul(x, s)", "Swish"),
    "another slope": ("u = Add(x, two) v = Clip(u, zero, six) y = Div(v, six)", "HardSigmoid"),
    "another top": ("u = Add(x, three) v = Clip(u, zero, six) y = Div(v, two)", "HardSigmoid"),
    "clip from one": ("u = Add(x, three) v = Clip(u, one, six) y = Div(v, six)", "HardSigmoid"),
    "hard swish with relu": ("u = Add(x, three) v = Relu(u) w = Div(v, six) y = Mul(x, w)", "HardSwish"),
    "another hard sigmoid": ("h = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(h, x)", "HardSwish"),
}


def model(body: str, outputs: str = "float[2,3,4] y") -> str:
    return f"{HEAD} g (float[2,3,4] x) => ({outputs}) {{ {CONSTANTS} {body} }}"


@pytest.mark.parametrize("name", FUSED)
def test_fused(check, name):
    body, op = FUSED[name]
    assert check(model(body)).ops == {op: 1}


@pytest.mark.parametrize("name", NOT_FUSED)
def test_not_fused(check, name):
    body, op = NOT_FUSED[name]
    assert op not in check(model(body)).ops


@pytest.mark.parametrize(
    ("name", "inside"), [("gelu by division", "e"), ("swish", "s"), ("hard sigmoid", "v"), ("hard swish", "w")]
)
def test_an_intermediate_with_another_reader_is_not_fused(check, name, inside):
    body, op = FUSED[name]
    assert op not in check(model(f"{body} z = Neg({inside})", "float[2,3,4] y, float[2,3,4] z")).ops
    assert op not in check(model(body, f"float[2,3,4] y, float[2,3,4] {inside}")).ops


@pytest.mark.parametrize("name", ["gelu by division", "hard swish"])
def test_computed_constants_are_not_fused(check, name):
    body, op = FUSED[name]
    text = model(body).replace("(float[2,3,4] x)", "(float[2,3,4] x, float four)")
    text = text.replace("root2)", "four)").replace("(x, three)", "(x, four)")
    assert op not in check(text).ops


def test_a_reader_in_a_subgraph_counts(check):
    text = f"""{HEAD} g (bool b, float[3] x) => (float[3] y, float[3] z) {{
        s = Sigmoid(x) y = Mul(x, s)
        z = If (b) <
            then_branch = t () => (float[3] u) {{ u = Neg(s) }}, else_branch = e () => (float[3] v) {{ v = Relu(x) }}
        >
    }}"""
    assert "Swish" not in check(text, seeds=(0, 1)).ops


def test_activations_inside_subgraphs_are_fused(check):
    text = f"""{HEAD} g (bool b, float[3] x) => (float[3] z) {{
        z = If (b) <
            then_branch = t () => (float[3] u) {{ s = Sigmoid(x) u = Mul(x, s) }},
            else_branch = e () => (float[3] v) {{ v = Relu(x) }}
        >
    }}"""
    assert check(text, seeds=(0, 1, 2), without=["select_branches"]).ops == {"If": 1, "Swish": 1, "Relu": 1}


def test_names_of_the_results_stay(check):
    checked = check(model(FUSED["swish"][0] + " z = Relu(y)", "float[2,3,4] z"))
    assert checked.node("Swish").outputs[0].name == "y"
    assert checked.node("Swish").attributes["alpha"].as_float() == 1.0


def test_clips_that_exclude_each_other(check):
    checked = check(model("r = Clip(x, two, three) y = Clip(r, minus, one)"))
    assert checked.ops == {"Clip": 1}


def test_integer_bounds_are_left_alone(check):
    text = f"{HEAD} g (int64[4] x) => (int64[4] y) <int64 a = {{1}}, int64 b = {{3}}> {{ m = Max(x, a) y = Min(m, b) }}"
    assert check(text).ops == {"Max": 1, "Min": 1}


def test_bounds_per_channel_are_not_clips(check):
    text = f"{HEAD} g (float[2,3] x) => (float[2,3] y) <float[3] a = {{0, 1, 2}}> {{ y = Max(x, a) }}"
    assert check(text).ops == {"Max": 1}

"""Loop and Scan written out, or left alone."""

from __future__ import annotations

import numpy as np
import pytest

HEAD = '<ir_version: 10, opset_import: ["": 22]>'
BODY = "(int64 i, bool k, float[3] a) => (bool o, float[3] b, float[3] s)"
LOOPS = {
    "count and condition": f"""y, z = Loop (n, t, x) < body = f {BODY} {{
        o = Identity(k) f = Cast<to = 1>(i) h = Add(a, f) b = Tanh(h) s = Neg(h) }} >""",
    "no condition": f"""y, z = Loop (n, , x) < body = f {BODY} {{
        o = Identity(t) b = Mul(a, x) s = Relu(a) }} >""",
    "outer values": f"""w = Exp(x) y, z = Loop (n, t, x) < body = f {BODY} {{
        o = Identity(k) b = Sub(w, a) s = Identity(w) }} >""",
}


@pytest.mark.parametrize("case", list(LOOPS))
def test_a_loop_of_a_known_count_is_written_out(check, case):
    text = f"{HEAD} g (float[3] x) => (y, z) <int64 n = {{4}}, bool t = {{1}}> {{ {LOOPS[case]} }}"
    assert "Loop" not in check(text).ops


def test_loops_in_loops_are_written_out(check):
    inner = """a2 = Loop (n, t, a) < body = f2 (int64 j, bool k2, float[3] p) => (bool o2, float[3] q) {
        o2 = Identity(k2) q = Tanh(p) } >"""
    text = f"""{HEAD} g (float[3] x) => (y) <int64 n = {{3}}, bool t = {{1}}> {{
        y = Loop (n, t, x) < body = f (int64 i, bool k, float[3] a) => (bool o, float[3] b) {{
            o = Identity(k) {inner} b = Mul(a2, a) }} > }}"""
    assert check(text).ops == {"Tanh": 9, "Mul": 3}


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        ", scan_input_directions = [1], scan_output_directions = [1]",
        ", scan_input_axes = [1], scan_output_axes = [1]",
        ", scan_input_axes = [-1], scan_output_axes = [-1], scan_output_directions = [1]",
    ],
)
def test_a_scan_is_written_out(check, attributes):
    size = 5 if "axes" in attributes else 4
    shape = "4" if "axes" in attributes else "5"
    text = f"""{HEAD} g (float[{shape}] h, float[4,5] x) => (y, z) {{
        y, z = Scan (h, x) < num_scan_inputs = 1{attributes}, body = f (float[{shape}] a, float[{shape}] e)
            => (float[{shape}] b, float[{shape}] s) {{ c = Add(a, e) b = Tanh(c) s = Neg(b) }} > }}"""
    ops = check(text).ops
    assert "Scan" not in ops
    assert ops["Tanh"] == size


LEFT = {
    "a count that is computed": ("int64 n, float[3] x", "", "o = Identity(k) b = Tanh(a)"),
    "a body that may end": (
        "float[3] x",
        "<int64 n = {4}>",
        "m = ReduceMax<keepdims = 0>(a) five = Constant<value_float = 0.1>() o = Less(m, five) b = Tanh(a)",
    ),
    "too many rounds": ("float[3] x", "<int64 n = {2500}>", "o = Identity(k) b = Tanh(a)"),
}


@pytest.mark.parametrize("case", list(LEFT))
def test_left_alone(check, case):
    inputs, constants, body = LEFT[case]
    text = f"""{HEAD} g ({inputs}) => (float[3] y) {constants} {{ y = Loop (n, , x) <
        body = f (int64 i, bool k, float[3] a) => (bool o, float[3] b) {{ {body} }} > }}"""
    feeds = {"x": np.ones(3, np.float32)} | ({"n": np.array(3)} if " n" in inputs else {})
    assert check(text, feeds=feeds).ops["Loop"] == 1

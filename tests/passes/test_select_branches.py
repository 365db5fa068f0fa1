"""If on a computed condition: both branches and a choice, or left alone."""

from __future__ import annotations

import pytest

HEAD = '<ir_version: 10, opset_import: ["": 22]>'
CHOSEN = {
    "capture": (
        "bool c, float[3] x",
        "then_branch = t () => (float[3] a) { k = Constant<value_float = 3.0>() a = Mul(x, k) }",
        "else_branch = e () => (float[3] b) { b = Relu(x) }",
    ),
    "outer value": (
        "bool c, float[3] x",
        "then_branch = t () => (float[3] a) { a = Identity(x) }",
        "else_branch = e () => (float[3] b) { b = Neg(x) }",
    ),
    "condition of one element": (
        "bool[1] c, float[3] x",
        "then_branch = t () => (float a) { a = ReduceSum<keepdims = 0>(x) }",
        "else_branch = e () => (float b) { b = ReduceMax<keepdims = 0>(x) }",
    ),
    "nested": (
        "bool c, bool d, float[3] x",
        """then_branch = t () => (float[3] a) {
            n = Neg(x)
            a = If (d) <
                then_branch = t2 () => (float[3] p) { p = Relu(n) }, else_branch = e2 () => (float[3] q) { q = Abs(n) }
            >
        }""",
        "else_branch = e () => (float[3] b) { b = Exp(x) }",
    ),
    "indices that are constant": (
        "bool c, float[3] x",
        "then_branch = t () => (float[2] a) { i = Constant<value_ints = [0, 2]>() a = Gather(x, i) }",
        "else_branch = e () => (float[2] b) { s = Constant<value_ints = [1, 2]>() d, b = Split<axis = 0>(x, s) }",
    ),
}
LEFT = {
    "other shapes": (
        "bool c, float[3] x",
        "then_branch = t () => (float[M] a) { a = Identity(x) }",
        "else_branch = e () => (float[M] b) { b = Concat<axis = 0>(x, x) }",
    ),
    "indices that are computed": (
        "bool c, float[5] x, int64[1] i",
        "then_branch = t () => (float[1] a) { a = Gather(x, i) }",
        "else_branch = e () => (float[1] b) { b = ReduceSum(x) }",
    ),
    "integer division": (
        "bool c, int64[3] x, int64[3] w",
        "then_branch = t () => (int64[3] a) { o = Constant<value_int = 1>() z = Add(w, o) a = Div(x, z) }",
        "else_branch = e () => (int64[3] b) { b = Neg(x) }",
    ),
}


def text(inputs: str, then: str, otherwise: str) -> str:
    return f"{HEAD} g ({inputs}) => (r) {{ y = If (c) < {then}, {otherwise} > r = Identity(y) }}"


@pytest.mark.parametrize("case", list(CHOSEN))
def test_both_branches_and_a_choice(check, case):
    ops = check(text(*CHOSEN[case]), seeds=range(6)).ops
    assert "If" not in ops
    assert ops["Where"] == (2 if case == "nested" else 1)


def test_booleans_are_chosen_by_logic(check):
    """`while a and b` of torch.jit.script; ONNX Runtime has no Where of booleans."""
    then = "then_branch = t () => (bool[3] a) { a = Greater(x, w) }"
    otherwise = "else_branch = e () => (bool[3] b) { b = Not(d) }"
    ops = check(text("bool c, bool[3] d, float[3] x, float[3] w", then, otherwise), seeds=range(6)).ops
    assert not {"If", "Where"} & ops.keys()


@pytest.mark.parametrize("case", list(LEFT))
def test_left_alone(check, case):
    assert check(text(*LEFT[case]), seeds=range(6)).ops["If"] == 1


def test_a_nested_constant_condition_is_inlined(check):
    inner = """If (k) <
        then_branch = t2 () => (float[3] p) { p = Relu(n) }, else_branch = e2 () => (float[3] q) { q = Abs(n) } >"""
    then = f"then_branch = t () => (float[3] a) {{ n = Neg(x) a = {inner} }}"
    otherwise = "else_branch = e () => (float[3] b) { b = Exp(x) }"
    source = f"""{HEAD} g (float[3] x) => (y) <bool k = {{0}}> {{
        s = Shape(x) three = Constant<value_ints = [3]>() c = Equal(s, three) y = If (c) < {then}, {otherwise} > }}"""
    assert check(source).ops == {"Neg": 1, "Abs": 1}

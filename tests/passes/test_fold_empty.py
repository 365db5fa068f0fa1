"""Tensors without elements: what follows from them is a constant, as ONNX Runtime computes it."""

from __future__ import annotations

import pytest

HEAD = '<ir_version: 10, opset_import: ["": 24]>'
FOLDED = {
    "sum": ("g (float[2,0,3] x) => (float[2,1,3] y) <int64[1] a = {1}>{ y = ReduceSum(x, a) }", {"Identity": 1}),
    "maximum": ("g (float[2,0] x) => (float[2] y) <int64[1] a = {1}>{ y = ReduceMax<keepdims = 0>(x, a) }", None),
    "a product": ("g (float[2,0] x, float[0,3] w) => (float[2,3] y) { y = MatMul(x, w) }", {"Identity": 1}),
    "behind a slice": (
        "g (float[4] x) => (float[5] y) <int64[1] s = {4}, int64[1] e = {4}, float[1] f = {7.0}>"
        "{ p = Slice(x, s, e) y = Concat<axis = 0>(p, x, f) }",
        {"Concat": 1},
    ),
    "an output": ("g (float[4] x) => (float[0] y) <int64[1] s = {4}>{ y = Slice(x, s, s) }", {"Identity": 1}),
    "a part": (
        "g (float[4] x) => (float[0] a, float[4] b) <int64[2] s = {0, 4}>{ a, c = Split(x, s) b = Relu(c) }",
        {"Identity": 1, "Relu": 1},
    ),
    "no axes, all": ("g (float[2,3] x) => (float[1,1] y) <int64[0] a = {}>{ y = ReduceSum(x, a) }", {"ReduceSum": 1}),
    "no axes, none": (
        "g (float[2,3] x) => (float[2,3] y) <int64[0] a = {}>"
        "{ z = ReduceSum<noop_with_empty_axes = 1>(x, a) y = Neg(z) }",
        {"Neg": 1},
    ),
    "no list, none": (
        "g (float[2,3] x) => (float[2,3] y) { y = ReduceSumSquare<noop_with_empty_axes = 1>(x) }",
        {"Mul": 1},
    ),
}


@pytest.mark.parametrize("form", FOLDED)
def test_values_without_elements_are_constants(form, check):
    text, ops = FOLDED[form]
    done = check(HEAD + text)
    if ops is not None:
        assert done.ops == ops


def test_masks_of_dropout_are_true(check):
    text = "g (float[2,3] x) => (float[2,3] y, bool[2,3] m) { y, m = Dropout(x) }"
    assert check('<ir_version: 10, opset_import: ["": 13]>' + text).ops == {"Identity": 2}

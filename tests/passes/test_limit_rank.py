"""Operators on more than 5 axes, seen with fewer: equal in ONNX Runtime, and no value left with more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeport.passes.merged_axes import transpositions

SIZES = """<int64[6] six = {2, 3, 4, 1, 2, 3}, int64[6] apart = {2, 3, 2, 2, 2, 3}, int64[1] flat = {-1}>"""


def model(body: str, output: str = "float[d0] y") -> str:
    """`a` and `v` are x with six axes, `b` what the body makes of one, `y` its elements."""
    return f"""<ir_version: 10, opset_import: ["" : 24]> g (float[24,6] x) => ({output}) {SIZES} {{
        a = Reshape(x, six) v = Reshape(x, apart) {body} y = Reshape(b, flat) }}"""


CASES = {
    "unary": "b = Sigmoid(a)",
    "clip": "lo = Constant<value_float = -0.5>() b = Clip(a, lo)",
    "cast": "b = Cast<to = 7>(a)",
    "scalar": "c = Constant<value_float = 2.0>() b = Mul(a, c)",
    "row": "c = Constant<value_floats = [1.0, 2.0, 3.0]>() b = Add(a, c)",
    "two kinds": "s = Constant<value_ints = [4, 1, 2, 1]>()"
    " r = Constant<value_floats = [1., 2., 3., 4., 5., 6., 7., 8.]>() c = Reshape(r, s) b = Sub(a, c)",
    "self": "t = Transpose<perm = [4, 1, 2, 3, 0, 5]>(a) b = Mul(a, t)",
    "reversed": "b = Transpose(a)",
    "reduced": "i = Constant<value_ints = [1, -2]>() b = ReduceMax<keepdims = 0>(a, i)",
    "all reduced": "b = ReduceSum(a)",
    "softmax": "b = Softmax<axis = 2>(a)",
    "argmax": "b = ArgMax<axis = -1, keepdims = 0>(a)",
    "first": "b = Softmax<axis = 0>(a)",
    "running": "i = Constant<value_int = 1>() b = CumSum(a, i)",
    "joined": "n = Neg(a) b = Concat<axis = 1>(a, n)",
    "split": "p, q, r = Split<axis = 1, num_outputs = 3>(a) b = Concat<axis = -1>(r, p)",
    "picked": "i = Constant<value_ints = [1, -1, 1]>() b = Gather<axis = 2>(a, i)",
    "one picked": "i = Constant<value_int = 1>() b = Gather<axis = 4>(a, i)",
    "sliced": "s = Constant<value_ints = [1, -1, 0]>() e = Constant<value_ints = [9, -9, 1]>()"
    " i = Constant<value_ints = [1, 2, -1]>() t = Constant<value_ints = [1, -2, 1]>() b = Slice(a, s, e, i, t)",
    "expanded": "s = Constant<value_ints = [2, 3, 4, 5, 2, 3]>() b = Expand(a, s)",
    "expanded apart": "i = Constant<value_ints = [0, 2, 4]>() m = ReduceMax(v, i) s = Shape(v) b = Expand(m, s)",
    "reduced apart": "i = Constant<value_ints = [0, 2, 4]>() b = ReduceMean(v, i)",
    "added apart": "i = Constant<value_ints = [0, 2, 4]>() m = ReduceSum(v, i) b = Sub(v, m)",
    "tiled": "s = Constant<value_ints = [1, 2, 1, 1, 1, 2]>() b = Tile(a, s)",
    "padded": "s = Constant<value_ints = [0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 1]>() b = Pad(a, s)",
    "product": "t = Transpose<perm = [0, 1, 2, 3, 5, 4]>(a) b = MatMul(a, t)",
    "product with one": "w = Constant<value_floats = [1., 2., 3., 4., 5., 6.]>() s = Constant<value_ints = [3, 2]>()"
    " r = Reshape(w, s) b = MatMul(a, r)",
    "normalized": "w = Constant<value_floats = [1., 2., 3., 4., 5., 6.]>() s = Constant<value_ints = [2, 3]>()"
    " r = Reshape(w, s) b = LayerNormalization<axis = -2>(a, r)",
    "views": "i = Constant<value_ints = [3]>() c = Squeeze(a, i) j = Constant<value_ints = [0]>() d = Unsqueeze(c, j) "
    "b = Relu(d)",
}


@pytest.mark.parametrize("case", CASES)
def test_no_value_has_more_axes(check: Callable[..., Any], case: str) -> None:
    output = "int64[d0] y" if case in ("cast", "argmax") else "float[d0] y"
    done = check(
        model(CASES[case], output=output), "lift_constants", "fold_constants", "limit_rank", "remove_dead_code"
    )
    for node in done.model.graph.all_nodes():
        for value in node.outputs:
            assert value.shape is not None, node
            assert len(value.shape) <= 5, node


def test_what_is_not_listed_stays(check: Callable[..., Any]) -> None:
    body = "i = Constant<value_ints = [1]>() s = Constant<value_ints = [1,1,1,1,1,1]>() j = Reshape(i, s)"
    done = check(model(f"{body} b = GatherElements<axis = 2>(a, j)"), "lift_constants", "fold_constants", "limit_rank")
    assert done.ops["GatherElements"] == 1


@pytest.mark.parametrize("rank", [6, 7])
def test_any_order_in_few_axes(rank: int) -> None:
    shape = (2, 3, 4, 5, 6, 7, 2)[:rank]
    x = np.arange(np.prod(shape)).reshape(shape)
    for perm in itertools.islice(itertools.permutations(range(rank)), 0, None, 7 if rank == 6 else 97):
        steps = transpositions(shape, perm, 5)
        value = x
        for seen, order in steps:
            assert len(seen) <= 5
            value = value.reshape(seen).transpose(order)
        np.testing.assert_array_equal(value.reshape(-1), x.transpose(perm).reshape(-1))
        assert len(steps) <= rank - 4

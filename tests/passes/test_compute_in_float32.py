"""Graphs in other floating point types compute in float32; their signature stays."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeport.passes import canonicalize

HEAD = '<ir_version: 10, opset_import: ["": 24]>'


@pytest.mark.parametrize(("kind", "number", "tolerance"), [("float16", 10, 5e-3), ("double", 11, 1e-6)])
def test_the_signature_stays(check, kind, number, tolerance):
    text = f"""{HEAD} g ({kind}[2,3] x, int64[2] n) => ({kind}[2,4] y, {kind}[2,4] z)
    {{
        h = MatMul(x, w) f = Cast<to = {number}>(n) s = Constant<value_ints = [2, 1]>() r = Reshape(f, s)
        y = Add(h, r) z = Relu(y)
    }}"""
    # float16 has 11 bits, sums of 3 products lose a few units: 5e-3; float32 beside float64: 24 bits
    weight = np.asarray([[0.5, 1, -1, 2], [0.25, 1, -2, 0], [1, 1, 1, 1]], np.float16 if number == 10 else np.float64)
    checked = check(text, tolerance=tolerance, initializers={"w": weight})
    kinds = [value.dtype for node in checked.model.graph for value in node.outputs]
    assert kinds.count(ir.DataType.FLOAT) == len(kinds) - 2
    assert checked.model.graph.inputs[0].dtype == checked.model.graph.outputs[0].dtype


def test_a_float16_island_becomes_float32(check):
    text = f"""{HEAD} g (float[2,3] x) => (float[2,3] y) <float16[3] w = {{1, 2, 3}}> {{
        h = Cast<to = 10>(x) m = Mul(h, w) y = Cast<to = 1>(m)
    }}"""
    assert check(text, tolerance=2e-3).ops == {"Mul": 1}  # float16 rounds x to 11 bits, float32 does not


def test_float16_in_subgraphs(check):
    text = f"""{HEAD} g (bool c, float16[3] x) => (float16[3] y) <float16 two = {{2}}> {{
        y = If (c) <
            then_branch = t () => (float16[3] a) {{ a = Mul(x, two) }},
            else_branch = e () => (float16[3] b) {{ b = Relu(x) }}
        >
    }}"""
    checked = check(text, seeds=(0, 1, 2), without=["select_branches"])
    assert checked.ops == {"Cast": 2, "If": 1, "Mul": 1, "Relu": 1}


def test_float32_graphs_are_not_touched(check):
    assert check(f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Relu(x) }}").ops == {"Relu": 1}


def test_unknown_operators_keep_their_types():
    text = """<ir_version: 10, opset_import: ["": 24, "com.example": 1]>
    g (float16[2] x) => (float16[2] y) { a = com.example.Magic(x) y = Relu(a) }"""
    model = canonicalize(ir.serde.deserialize_model(onnx.parser.parse_model(text)))
    assert [node.op_type for node in model.graph] == ["Magic", "Relu"]

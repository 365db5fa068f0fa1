"""Constants that ask for more than any machine has: refused at once, not tried."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgeport.capture.sizes import refuse_endless
from edgeport.errors import ModelError

HUGE, SCALAR = np.array([10**6, 10**6]), np.array(10**12)
CASES = {
    "range": ("r = Range(zero, a, one) f = Cast<to=1>(r) m = ReduceMax<keepdims=0>(f) y = Add(x, m)", SCALAR),
    "constant": ("r = ConstantOfShape(a) m = ReduceMax<keepdims=0>(r) y = Add(x, m)", HUGE),
    "expand": ("r = Expand(x, a) m = ReduceMax<keepdims=0>(r) y = Add(x, m)", np.array([10**6, 10**6, 4])),
    "tile": ("r = Tile(x, a) m = ReduceMax<keepdims=0>(r) y = Add(x, m)", HUGE),
    "pad": ("r = Pad(x, a) m = ReduceMax<keepdims=0>(r) y = Add(x, m)", np.array([0, 0, 10**6, 10**6])),
    "onehot": ("c = Cast<to=7>(x) r = OneHot(c, a, ends) m = ReduceMax<keepdims=0>(r) y = Add(x, m)", SCALAR),
    "product": (
        "t = Tile(x, a) u = Transpose(t) r = MatMul(u, t) m = ReduceMax<keepdims=0>(r) y = Add(x, m)",
        HUGE // 2,
    ),
}


def model(body: str, **arrays: np.ndarray) -> onnx.ModelProto:
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) {{ {body} }}'
    made = onnx.parser.parse_model(text)
    made.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    return made


@pytest.mark.parametrize("name", sorted(CASES))
def test_terabytes(name: str) -> None:
    body, asked = CASES[name]
    proto = model(body, a=asked, zero=np.array(0), one=np.array(1), ends=np.array([0, 1], np.float32))
    with pytest.raises(ModelError, match="elements|would take") as caught:
        refuse_endless(proto, "it")
    assert "\n" not in str(caught.value)


def test_doubling_forty_times() -> None:
    body = " ".join(f"t{i + 1} = Concat<axis=0>(t{i}, t{i})" for i in range(40))
    with pytest.raises(ModelError, match="would take"):
        refuse_endless(model(f"t0 = Relu(x) {body} m = ReduceMax<keepdims=0>(t40) y = Add(x, m)"), "it")


def test_functions_that_call_two_functions_each() -> None:
    calls = "\n".join(
        f'<domain: "l", opset_import: ["" : 17, "l" : 1]> f{i} (a) => (b) {{ t = l.f{i + 1}(a) b = l.f{i + 1}(t) }}'
        for i in range(40)
    )
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "l" : 1]> g (float[1,4] x) => (float[1,4] y) { y = l.f0(x) }\n'
        f'{calls}\n<domain: "l", opset_import: ["" : 17]> f40 (a) => (b) {{ b = Relu(a) }}'
    )
    with pytest.raises(ModelError, match="1,000,000 nodes"):
        refuse_endless(proto, "it")


@pytest.mark.parametrize(("turns", "refused"), [(10**12, True), (2**63 - 1, False), (8, False)])
def test_loops(turns: int, refused: bool) -> None:
    """The largest integer is how exporters write a loop that its condition ends."""
    body = """y = Loop(n, go, x) <body = b (int64 i, bool c, float[1,4] v) => (bool d, float[1,4] w) {
        d = Identity(c) w = Add(v, v) }>"""
    proto = model(body, n=np.array(turns), go=np.array(True))
    if refused:
        with pytest.raises(ModelError, match=r"Loop .* turns 1e\+12 times"):
            refuse_endless(proto, "it")
    else:
        refuse_endless(proto, "it")


def test_ordinary_constants_pass() -> None:
    proto = model(
        "r = Range(zero, a, one) f = Cast<to=1>(r) m = ReduceMax<keepdims=0>(f) e = Expand(x, s) y = Add(e, m)",
        a=np.array(10**6), zero=np.array(0), one=np.array(1), s=np.array([1, 4]),
    )  # fmt: skip
    refuse_endless(proto, "it")

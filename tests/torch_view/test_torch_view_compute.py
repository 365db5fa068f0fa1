"""Element-wise operators, activations, products, norms, reductions and attention beside ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import pytest
from view_graphs import assert_same, model_of, normal, reference

from edgeport.errors import ModelError
from edgeport.torch_view.runner import TorchViewRunner
from edgeport.torch_view.view import torch_view

_UNARY = (
    *("Relu", "LeakyRelu<alpha=0.3>", "Elu<alpha=1.7>", "Selu", "Selu<alpha=1.1,gamma=0.9>", "Celu<alpha=0.6>"),
    *("Gelu", 'Gelu<approximate="tanh">', "HardSwish", "HardSigmoid", "HardSigmoid<alpha=0.16666667,beta=0.5>"),
    *("HardSigmoid<alpha=0.3,beta=0.4>", "Sigmoid", "Tanh", "Softplus", "Softsign", "Mish", "ThresholdedRelu"),
    *("ThresholdedRelu<alpha=0.2>", "Shrink<bias=0.2,lambd=0.7>", "Softmax", "Softmax<axis=0>", "LogSoftmax<axis=1>"),
    *("Hardmax", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Exp", "Erf", "Sin", "Cos", "Tan", "Atan", "Asinh"),
    *("Sinh", "Cosh", "IsNaN", "IsInf", "IsInf<detect_negative=0>", "IsInf<detect_positive=0>", "Reciprocal"),
    *("LpNormalization<p=1>", "LpNormalization<axis=0>", "ReduceSum", "ReduceMean<keepdims=0>", "ReduceMax"),
    *("ReduceMin<keepdims=0>", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
    *("ArgMax<axis=-1>", "ArgMin<axis=0,keepdims=0>", "ArgMax<axis=1,select_last_index=1>"),
)


@pytest.mark.parametrize("operator", _UNARY)
def test_of_one_operand(operator: str) -> None:
    name, _, attributes = operator.partition("<")
    text = f"g (float[3,4,5] x) => (y) {{ y = {name}{'<' + attributes if attributes else ''}(x) }}"
    x = np.clip(3 * normal(3, 4, 5), -8, 8)
    x[0, 0, :3] = [0.0, -0.0, 0.5]
    if name in ("IsNaN", "IsInf", "Relu", "Sign", "Abs"):
        x[1, 1, :3] = [np.inf, -np.inf, 0.0 if name == "Sign" else np.nan]
    if name in ("Reciprocal", "ReduceProd"):
        x = np.where(x == 0, np.float32(1), x / 4)
    # ONNX Runtime's Erf, Tanh and Gelu are polynomials good to about 1e-6 relative to 1.
    assert_same(model_of(text), {"x": x}, tolerance=2e-5)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize(
    "operator", ["Add", "Sub", "Mul", "Div", "Mod", "Max", "Min", "Equal", "Greater", "LessOrEqual"]
)
def test_integers_wrap(operator: str, dtype: str) -> None:
    """Beside numpy, as ONNX Runtime lacks many of these: whole division truncates, remainders follow the divisor."""
    rng, limits = np.random.default_rng(0), np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, 200, dtype, endpoint=True)
    y = rng.integers(limits.min, limits.max, 200, dtype, endpoint=True)
    y = np.where((y == 0) | (y == -1 if limits.min else False), 3, y).astype(dtype)
    model = model_of(f"g ({dtype}[200] x, {dtype}[200] y) => (z) {{ z = {operator}(x, y) }}")
    if dtype == "uint64" and operator in ("Div", "Mod"):
        with pytest.raises(ModelError, match="uint64 is not supported"):
            torch_view(model)
        return
    forms = {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": lambda a, b: np.sign(a) * np.sign(b) * (np.abs(a.astype(object)) // np.abs(b.astype(object))),
        "Mod": np.mod,
        "Max": np.maximum,
        "Min": np.minimum,
        "Equal": np.equal,
        "Greater": np.greater,
        "LessOrEqual": np.less_equal,
    }
    with np.errstate(over="ignore"):
        want = np.asarray(forms[operator](x, y))
    got = TorchViewRunner(torch_view(model), model).run({"x": x, "y": y})["z"]
    assert got.dtype == (bool if want.dtype == bool else np.dtype(dtype))
    np.testing.assert_array_equal(got, want.astype(got.dtype))


@pytest.mark.parametrize(
    "source", ["float32", "float16", "float64", "bool", "int8", "uint8", "int32", "int64", "uint16"]
)
@pytest.mark.parametrize("target", ["float", "float16", "double", "bool", "int8", "uint8", "int32", "int64", "uint32"])
def test_cast(source: str, target: str) -> None:
    kind = {"float32": "float", "float64": "double"}.get(source, source)
    codes = {
        "float": 1,
        "uint8": 2,
        "int8": 3,
        "int32": 6,
        "int64": 7,
        "bool": 9,
        "float16": 10,
        "double": 11,
        "uint32": 12,
    }
    model = model_of(f"g ({kind}[6] x) => (y) {{ y = Cast<to={codes[target]}>(x) }}")
    # Numbers that every dtype holds, as others have no defined result; whole parts are what is left of fractions.
    x = np.asarray([0, 1, 2.75, 3.5, 100.25, 127]).astype(source)
    assert_same(model, {"x": x}, tolerance=0)


@pytest.mark.parametrize("base", ["float", "int32"])
@pytest.mark.parametrize("exponent", ["float", "int64", "int32"])
def test_power(base: str, exponent: str) -> None:
    dtypes = {"float": np.float32, "int32": np.int32, "int64": np.int64}
    model = model_of(f"g ({base}[2,3] x, {exponent}[3] y) => (z) {{ z = Pow(x, y) }}")
    x = np.asarray([[1, 2, 3], [4, 5, 1001]], dtypes[base])  # 1001 cubed has more digits than float32
    assert_same(model, {"x": x, "y": np.asarray([2, 0, 3], dtypes[exponent])})


@pytest.mark.parametrize("bounds", [("", ""), ("low", ""), ("", "high"), ("low", "high"), ("high", "low")])
@pytest.mark.parametrize("constant", [True, False])
def test_clip(bounds: tuple[str, str], constant: bool) -> None:
    numbers = {"low": np.asarray(-0.5, np.float32), "high": np.asarray(0.25, np.float32)}
    ends = {} if constant else numbers
    declared = "".join(f", float {name}" for name in ends)
    text = f"g (float[4,5] x{declared}) => (y) {{ y = Clip(x, {bounds[0]}, {bounds[1]}) }}"
    model = model_of(text, numbers if constant else {})
    assert_same(model, {"x": normal(4, 5), **ends})


@pytest.mark.parametrize("slope", [(4, 1, 1), (1,), (1, 4, 1, 1), (2, 4, 3, 3)])
def test_prelu(slope: tuple[int, ...]) -> None:
    model = model_of("g (float[2,4,3,3] x) => (y) { y = PRelu(x, s) }", {"s": normal(*slope, seed=1)})
    assert_same(model, {"x": normal(2, 4, 3, 3)})


@pytest.mark.parametrize("given", ["transB=1", "transA=1", "transA=1,transB=1,alpha=0.5", "beta=0.3"])
@pytest.mark.parametrize("bias", [(6,), (1, 6), (4, 1), (1,), None])
def test_gemm(given: str, bias: tuple[int, ...] | None) -> None:
    x = normal(5, 4) if "transA" in given else normal(4, 5)
    w = normal(6, 5, seed=1) if "transB" in given else normal(5, 6, seed=1)
    text = f"g (float[{x.shape[0]},{x.shape[1]}] x) => (y) {{ y = Gemm<{given}>(x, w{'' if bias is None else ', b'}) }}"
    assert_same(model_of(text, {"w": w} | ({} if bias is None else {"b": normal(*bias, seed=2)})), {"x": x})


@pytest.mark.parametrize("shapes", [((5,), (5,)), ((5,), (2, 5, 3)), ((2, 3, 5), (5,)), ((2, 1, 4, 5), (3, 5, 6))])
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, y = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    declared = ", ".join(f"float[{','.join(map(str, a.shape))}] {n}" for n, a in (("x", x), ("y", y)))
    assert_same(model_of(f"g ({declared}) => (z) {{ z = MatMul(x, y) }}"), {"x": x, "y": y})


_NORMS = (
    "BatchNormalization(x, c, d, m, v)",
    "BatchNormalization<epsilon=0.1>(x, c, d, m, v)",
    "InstanceNormalization(x, c, d)",
    "GroupNormalization<num_groups=2>(x, c, d)",
    "GroupNormalization<num_groups=4,epsilon=0.1>(x, c, d)",
    "LayerNormalization(x, s, t)",
    "LayerNormalization(x, s)",
    "LayerNormalization<axis=1>(x, s, t)",
    "LRN<size=3>(x)",
    "LRN<size=5,alpha=0.5,beta=0.6,bias=2.0>(x)",
    "RMSNormalization(x, s)",
    "RMSNormalization<axis=-2,epsilon=0.1>(x, s)",
)


@pytest.mark.parametrize("operator", _NORMS)
def test_norm(operator: str) -> None:
    constants = {name: normal(4, seed=i) for i, name in enumerate("cdm")} | {"v": np.exp(normal(4, seed=5))}
    constants |= {"s": normal(6, seed=7), "t": normal(6, seed=8)}
    used = {name: array for name, array in constants.items() if f" {name}" in operator}
    model = model_of(f"g (float[2,4,5,6] x) => (float[2,4,5,6] y) {{ y = {operator} }}", used)
    assert_same(model, {"x": normal(2, 4, 5, 6)})


def test_lrn_over_an_even_number_of_channels() -> None:
    """By ONNX's formula, which ONNX Runtime has for odd numbers only: one channel before and two after."""
    model = model_of("g (float[1,6,2,2] x) => (y) { y = LRN<size=4,alpha=0.5,beta=0.6,bias=2.0>(x) }")
    x = normal(1, 6, 2, 2)
    sums = np.stack([(x[:, max(c - 1, 0) : c + 3] ** 2).sum(1) for c in range(6)], 1)
    got = TorchViewRunner(torch_view(model), model).run({"x": x})["y"]
    np.testing.assert_allclose(got, x / (2 + 0.5 / 4 * sums) ** 0.6, rtol=1e-6)  # a few operations in float32


def test_layer_norm_tells_mean_and_deviation() -> None:
    text = "g (float[2,4,6] x) => (y, m, d) { y, m, d = LayerNormalization(x, s, t) }"
    model = model_of(text, {"s": normal(6, seed=1), "t": normal(6, seed=2)})
    assert_same(model, {"x": normal(2, 4, 6)})


_MASKS = {
    "none": None,
    "bool": np.random.default_rng(3).random((2, 1, 5, 7)) > 0.4,
    "float": normal(5, 7, seed=4),
    "infinite": np.where(np.random.default_rng(5).random((5, 7)) > 0.4, 0, -np.inf).astype(np.float32),
}


@pytest.mark.parametrize("mask", _MASKS)
@pytest.mark.parametrize("given", ["", "is_causal=1", "scale=0.3,softcap=2.0"])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_attention(heads: tuple[int, int], given: str, mask: str) -> None:
    added = _MASKS[mask]
    q, k, v = normal(2, heads[0], 5, 8), normal(2, heads[1], 7, 8, seed=1), normal(2, heads[1], 7, 6, seed=2)
    feeds = {"q": q, "k": k, "v": v} | ({} if added is None else {"m": added})
    kinds = {
        n: f"{'bool' if a.dtype == bool else 'float'}[{','.join(map(str, a.shape))}] {n}" for n, a in feeds.items()
    }
    attributes = f"<{given}>" if given else ""
    text = f"g ({', '.join(kinds.values())}) => (y) {{ y = Attention{attributes}({', '.join(feeds)}) }}"
    model = model_of(text)
    wanted = reference(model, feeds)["y"]
    got = TorchViewRunner(torch_view(model), model).run(feeds)["y"]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)  # as in `assert_same`


def test_mask_that_is_too_short_is_not_repeated() -> None:
    text = "g (float[1,2,3,4] q, float[1,2,5,4] k, float[1,2,5,4] v, float[3,1] m) => (y) { y = Attention(q, k, v, m) }"
    with pytest.raises(ModelError, match="other than 5 keys"):
        torch_view(model_of(text))


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[0], [1, -1], [-2]])
@pytest.mark.parametrize("operator", ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSumExp"])
def test_reduce_over_axes(operator: str, axes: list[int], keep: int) -> None:
    text = f"g (float[3,4,5] x) => (y) {{ y = Reduce{operator}<keepdims={keep}>(x, a) }}"
    assert_same(model_of(text, {"a": np.asarray(axes, np.int64)}), {"x": normal(3, 4, 5)})


def test_reduce_of_integers_keeps_their_type() -> None:
    text = "g (int32[3,4] x) => (s, p, m) { s = ReduceSum(x, a) p = ReduceProd(x, a) m = ReduceMax(x, a) }"
    model = model_of(text, {"a": np.asarray([1], np.int64)})
    assert_same(model, {"x": np.random.default_rng(0).integers(-9, 9, (3, 4)).astype(np.int32)})

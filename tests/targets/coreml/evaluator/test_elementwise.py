"""Unary, binary and activation operations: what coremltools itself folds them to, else torch or a closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.erf import erf
from edgeport.targets.coreml.evaluator.registry import EvaluationError

X = np.random.default_rng(0).uniform(-3, 3, (2, 3, 4)).astype(np.float32)
UNIT = (X / 3.1).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.0], np.float32)
INTS = np.array([-7, -3, 0, 2, 5], np.int32)
CHANNELS = np.array([0.1, -0.5, 2.0], np.float32)

UNARY: list[tuple[str, dict[str, Any]]] = [
    *(
        (kind, {"x": X})
        for kind in (
            "abs",
            "atan",
            "ceil",
            "cos",
            "cosh",
            "erf",
            "exp",
            "exp2",
            "floor",
            "sign",
            "sin",
            "sinh",
            "square",
            "tan",
            "tanh",
        )
    ),
    *((kind, {"x": UNIT}) for kind in ("acos", "asin", "atanh")),
    *((kind, {"x": POSITIVE}) for kind in ("sqrt", "log", "rsqrt", "inverse")),
    *((kind, {"x": INTS}) for kind in ("abs", "sign", "square")),
    *((kind, {"x": POSITIVE, "epsilon": np.float32(0.5)}) for kind in ("log", "rsqrt", "inverse")),
    ("log", {"x": np.zeros(2, np.float32)}),
    ("exp2", {"x": np.array([0, 3, 10], np.int32)}),
    ("round", {"x": HALVES}),
    ("clip", {"x": X, "alpha": np.float32(-1), "beta": np.float32(0.5)}),
    ("threshold", {"x": X, "alpha": np.float32(0.5)}),
    ("logical_not", {"x": X > 0}),
    ("identity", {"x": X}),
]
ACTIVATIONS: list[tuple[str, dict[str, Any]]] = [
    *((kind, {"x": X}) for kind in ("relu", "relu6", "sigmoid", "softplus", "softsign")),
    ("relu6", {"x": 4 * X}),
    *((kind, {"x": X, "alpha": np.float32(0.3)}) for kind in ("elu", "leaky_relu")),
    ("thresholded_relu", {"x": X.copy(), "alpha": np.float32(0.3)}),  # folding writes into its operand
    *(
        (kind, {"x": X, "alpha": np.float32(0.3), "beta": np.float32(0.7)})
        for kind in ("clamped_relu", "linear_activation", "scaled_tanh", "sigmoid_hard")
    ),
    *(("gelu", {"x": X, "mode": mode}) for mode in ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")),
    ("gelu", {"x": X}),
    ("prelu", {"x": X[None], "alpha": CHANNELS[:2]}),
    ("softplus_parametric", {"x": X[None], "alpha": CHANNELS[:2], "beta": CHANNELS[1:]}),
    ("softmax", {"x": X}),
    ("softmax", {"x": X * 100, "axis": 1}),
]
OTHER = np.random.default_rng(1).uniform(-3, 3, (3, 1)).astype(np.float32)
BINARY: list[tuple[str, dict[str, Any]]] = [
    *(
        (kind, {"x": X, "y": OTHER})
        for kind in (
            "add",
            "sub",
            "mul",
            "real_div",
            "floor_div",
            "mod",
            "maximum",
            "minimum",
            "greater",
            "greater_equal",
            "less",
            "less_equal",
        )
    ),
    *(
        (kind, {"x": INTS, "y": np.array([[2], [-3]], np.int32)})
        for kind in (
            "add",
            "sub",
            "mul",
            "floor_div",
            "mod",
            "maximum",
            "minimum",
            "equal",
            "not_equal",
            "less",
            "greater_equal",
        )
    ),
    ("real_div", {"x": np.array([9, 8, -4], np.int32), "y": np.array([2, 3, 2], np.int32)}),
    ("pow", {"x": POSITIVE, "y": OTHER}),
    ("pow", {"x": np.array([-2, 3], np.int32), "y": np.array([3, 2], np.int32)}),
    *((kind, {"x": X, "y": X[::-1]}) for kind in ("equal", "not_equal")),
    *((kind, {"x": X > 0, "y": OTHER > 0}) for kind in ("logical_and", "logical_or", "logical_xor")),
    ("select", {"cond": X > 0, "a": X, "b": OTHER}),
]
CASTS = [
    ("cast", {"x": x, "dtype": dtype})
    for x in (np.array([-2.7, -0.5, 0.0, 1.9, 100.2], np.float32), np.array([0, 1, 100], np.int32), X[0] > 0)
    for dtype in ("int32", "fp16", "fp32", "bool", "int8", "uint8", "int16", "uint16")
    if not (x.dtype == np.float32 and dtype.startswith("u"))  # negative floats have no unsigned value
]


def _label(cases: list[tuple[str, dict[str, Any]]]) -> list[str]:
    return [kind for kind, _ in cases]


@pytest.mark.parametrize("cases", [UNARY, ACTIVATIONS, BINARY, CASTS], ids=["unary", "activation", "binary", "cast"])
def test_as_coremltools_folds_it(evaluate: Any, cases: list[tuple[str, dict[str, Any]]]) -> None:
    def build(mb: Any) -> list[Any]:
        return [getattr(mb, kind)(**arguments) for kind, arguments in cases]

    found = evaluate(build, arithmetic="declared")
    for (kind, arguments), (value, got) in zip(cases, found, strict=True):
        assert value.val is not None, kind
        want = np.asarray(value.val)
        want = want.astype(got.dtype) if want.dtype == np.float16 else want
        # Some foldings compute in float64 or in another order: a few units in the last place of float32.
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-7, err_msg=f"{kind} {list(arguments)}")
        assert got.dtype.kind == want.dtype.kind, kind


def test_silu(evaluate: Any) -> None:
    ((_, got),) = evaluate(lambda mb: mb.silu(x=X))
    np.testing.assert_allclose(got, X / (1 + np.exp(-X.astype(np.float64))), rtol=1e-6)


def test_erf_is_exact_to_float32() -> None:
    x = np.concatenate([np.linspace(-6, 6, 20001), np.logspace(-30, 0, 1000)]).astype(np.float32)
    want = np.array([math.erf(value) for value in x.tolist()])
    np.testing.assert_allclose(erf(x), want, rtol=1e-7)  # half a unit in the last place is 6e-8
    assert np.isnan(erf(np.array([np.nan], np.float32)))[0]
    np.testing.assert_array_equal(erf(np.array([np.inf, -np.inf], np.float32)), [1, -1])


@pytest.mark.parametrize(
    ("kind", "arguments", "reason"),
    [
        ("real_div", {"x": np.array([-3], np.int32), "y": np.array([2], np.int32)}, "negative integer quotient"),
        ("floor_div", {"x": INTS, "y": np.zeros(1, np.int32)}, "by zero"),
        ("pow", {"x": INTS, "y": np.array([-1], np.int32)}, "negative power"),
        ("exp2", {"x": INTS}, "negative integer"),
        ("cast", {"x": np.array([np.nan], np.float32), "dtype": "int32"}, "NaN"),
    ],
)
def test_undocumented_cases_are_refused(evaluate: Any, kind: str, arguments: dict[str, Any], reason: str) -> None:
    given = arguments["x"]
    rest = {key: value for key, value in arguments.items() if key != "x"}
    with pytest.raises(EvaluationError, match=f"{kind}.*{reason}"):
        evaluate(lambda mb, x: getattr(mb, kind)(x=x, **rest), inputs={"x": given})


def test_integers_that_leave_their_type_are_reported(save: Any, tmp_path: Any) -> None:
    from edgeport.targets.coreml.evaluator.run import Evaluator

    x = np.array([2**20, 3], np.int32)
    path, (value,) = save(tmp_path / "m.mlpackage", lambda mb, x: mb.mul(x=x, y=np.int32(2**12)), inputs={"x": x})
    result = Evaluator(path).run({"x": x}, keep=[value.name])
    assert [(item.kind, item.magnitude) for item in result.overflows] == [("mul", 2.0**32)]
    np.testing.assert_array_equal(result.values[value.name], [0, 3 * 2**12])


@pytest.mark.parametrize(
    ("kind", "x", "magnitude"),
    [
        ("exp", [1.0, 12.0], np.exp(12.0)),
        ("exp", [1.0, 100.0], np.finfo(np.float32).max),  # beyond float32 too: at least that
        ("exp", [1.0, np.inf], None),
        ("square", [1.0, 300.0], 9e4),
        ("inverse", [1.0, 0.0], None),
    ],
)
def test_infinities_of_finite_numbers_are_reported(
    save: Any, tmp_path: Any, kind: str, x: list[float], magnitude: float | None
) -> None:
    from edgeport.targets.coreml.evaluator.run import Evaluator

    given = np.array(x, np.float16)
    more = {"epsilon": np.float16(0)} if kind == "inverse" else {}
    path, _ = save(tmp_path / "m.mlpackage", lambda mb, x: getattr(mb, kind)(x=x, **more), "iOS17", {"x": given})
    result = Evaluator(path, arithmetic="declared").run({"x": given})
    found = [item.magnitude for item in result.overflows if item.kind == kind]
    assert found == ([] if magnitude is None else [pytest.approx(magnitude, rel=1e-6)])

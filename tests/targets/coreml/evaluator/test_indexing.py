"""Gather and scatter in their modes and versions: against coremltools' folding, ONNX Runtime and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.registry import EvaluationError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
SMALL = RNG.integers(0, 2, (2, 2)).astype(np.int32)
ALONG = RNG.integers(0, 3, (2, 5, 4)).astype(np.int32)


def test_gathers_as_coremltools_folds_them(evaluate: Any) -> None:
    def build(mb: Any) -> list[Any]:
        return [
            mb.gather(x=X, indices=SMALL, axis=-1),
            mb.gather(x=X, indices=np.int32(1), axis=1),
            mb.gather(x=X, indices=np.array([2, 0], np.uint16), axis=1),
            mb.gather(x=X, indices=SMALL, axis=1, batch_dims=1),
            mb.gather_along_axis(x=X, indices=ALONG, axis=1),
        ]

    for value, got in evaluate(build):
        np.testing.assert_array_equal(got, value.val)
        assert got.shape == np.shape(value.val)


@pytest.mark.parametrize("batch", [0, 1, 2])
def test_gather_nd_as_onnx_runtime(evaluate: Any, batch: int) -> None:
    import onnx
    import onnxruntime

    indices = {0: [[1, 2, 0], [0, 0, 3]], 1: [[[2, 1]], [[0, 3]]], 2: [[[3]] * 3, [[1]] * 3]}[batch]
    numbers = np.array(indices, np.int64)
    node = onnx.helper.make_node("GatherND", ["x", "i"], ["y"], batch_dims=batch)
    ends = [
        [
            onnx.helper.make_tensor_value_info("x", 1, X.shape),
            onnx.helper.make_tensor_value_info("i", 7, numbers.shape),
        ],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", *ends), opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10
    )
    (want,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": X, "i": numbers})
    ((_, got),) = evaluate(lambda mb: mb.gather_nd(x=X, indices=numbers.astype(np.int32), batch_dims=batch))
    np.testing.assert_array_equal(got, want)


def _apply(mode: str, old: Any, new: Any) -> Any:
    return {
        "update": new,
        "add": old + new,
        "sub": old - new,
        "mul": old * new,
        "div": old / new,
        "max": np.maximum(old, new),
        "min": np.minimum(old, new),
    }[mode]


MODES = ("update", "add", "sub", "mul", "div", "max", "min")


def test_scatters_in_every_mode(evaluate: Any) -> None:
    """Against loops over single elements; repeated indices take part one after the other."""
    along, rows, points = ALONG[:, :2], np.array([2, 0, 2], np.int32), np.array([[1, 2], [0, 0], [1, 2]], np.int32)
    for_along, for_rows, for_points = (
        RNG.uniform(0.5, 2, shape).astype(np.float32) for shape in (along.shape, (2, 3, 4), (3, 4))
    )

    def build(mb: Any, x: Any) -> list[Any]:
        made = []
        for mode in MODES:
            made.append(mb.scatter_along_axis(data=x, indices=along, updates=for_along, axis=1, mode=mode))
            made.append(mb.scatter(data=x, indices=rows, updates=for_rows, axis=1, mode=mode))
            made.append(mb.scatter_nd(data=x, indices=points, updates=for_points, mode=mode))
        return made

    found = iter(evaluate(build, inputs={"x": X}))
    for mode in MODES:
        want_along, want_rows, want_points = X.copy(), X.copy(), X.copy()
        for place in np.ndindex(along.shape):
            target = (place[0], along[place], place[2])
            want_along[target] = _apply(mode, want_along[target], for_along[place])
        for index, row in enumerate(rows):
            want_rows[:, row] = _apply(mode, want_rows[:, row], for_rows[:, index])
        for index, (i, j) in enumerate(points):
            want_points[i, j] = _apply(mode, want_points[i, j], for_points[index])
        for want in (want_along, want_rows, want_points):
            np.testing.assert_array_equal(next(found)[1], want, err_msg=mode)


def test_defaults_are_those_of_the_operation_set(evaluate: Any) -> None:
    """Without a mode, scatters add along the first axis."""
    index, update = np.array([1], np.int32), np.ones((1, 3, 4), np.float32)
    ((_, got),) = evaluate(lambda mb, x: mb.scatter(data=x, indices=index, updates=update), inputs={"x": X})
    np.testing.assert_array_equal(got, X + np.array([0, 1], np.float32)[:, None, None])


@pytest.mark.parametrize("deployment", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_negative_indices_count_from_the_end_before_ios17_only(evaluate: Any, deployment: str) -> None:
    def build(mb: Any, i: Any) -> list[Any]:
        update = np.zeros((1, 3, 4), np.float32)
        return [mb.gather(x=X, indices=i), mb.scatter(data=X, indices=i, updates=update, mode="update")]

    inputs = {"i": np.array([-1], np.int32)}
    if deployment in ("iOS17", "iOS18"):
        with pytest.raises(EvaluationError, match="gather.*out of bounds"):
            evaluate(build, deployment, inputs)
        return
    (_, gathered), (_, scattered) = evaluate(build, deployment, inputs)
    np.testing.assert_array_equal(gathered, X[-1:])
    np.testing.assert_array_equal(scattered[1], 0 * X[1])

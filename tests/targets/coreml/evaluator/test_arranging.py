"""Shapes, slices, joins, reductions, sorting: what coremltools itself folds them to, else numpy or torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.registry import EvaluationError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 3, 4)).astype(np.float32)
COUNTS = RNG.permutation(24).reshape(2, 3, 4).astype(np.int32)
LOGICAL = X > 0
Case = tuple[str, dict[str, Any]]

SHAPES: list[Case] = [
    ("reshape", {"x": X, "shape": [4, -1]}),
    ("reshape", {"x": X, "shape": [0, -1, 2]}),
    ("reshape", {"x": X, "shape": [1, 0, -1, 0]}),
    ("reshape", {"x": LOGICAL, "shape": [24]}),
    ("expand_dims", {"x": X, "axes": [0, -1]}),
    ("squeeze", {"x": X[:1, :, :1], "axes": [-1]}),
    ("squeeze", {"x": X[:1, :, :1]}),
    ("flatten2d", {"x": X, "axis": -1}),
    ("flatten2d", {"x": X}),
    ("transpose", {"x": X, "perm": [-1, 0, 1]}),
    ("shape", {"x": X}),
    ("slice_by_index", {"x": X, "begin": [0, 1, -3], "end": [2, 3, 4]}),
    ("slice_by_index", {"x": X, "begin": [0, 2, 3], "end": [2, 0, 0], "stride": [1, -1, -2]}),
    (
        "slice_by_index",
        {
            "x": X,
            "begin": [1, 9, 3],
            "end": [9, 9, 9],
            "stride": [1, -1, -1],
            "begin_mask": [False, True, False],
            "end_mask": [False, True, True],
        },
    ),
    (
        "slice_by_index",
        {"x": X, "begin": [-1, 0, 1], "end": [9, 2, 9], "squeeze_mask": [True, False, True]},
    ),
    ("slice_by_size", {"x": X, "begin": [0, 1, -3], "size": [1, -1, 2]}),
    (
        "slice_update",
        {"x": X, "update": -X[:, 1:, ::2], "begin": [0, 1, 0], "end": [2, 3, 4], "stride": [1, 1, 2]},
    ),
    ("split", {"x": COUNTS, "num_splits": 2, "axis": -1}),
    ("split", {"x": COUNTS, "split_sizes": [1, 2], "axis": 1}),
    ("concat", {"values": (X, X[:, :1]), "axis": 1}),
    ("stack", {"values": (X, -X), "axis": 1}),
    ("stack", {"values": (X, -X), "axis": -1}),
    ("tile", {"x": X, "reps": [1, 2, 3]}),
    ("reverse", {"x": X, "axes": [-1, 0]}),
    ("reverse", {"x": X}),
    ("fill", {"shape": [2, 3], "value": np.float32(1.5)}),
    ("fill", {"shape": [2], "value": np.int32(3)}),
    ("fill_like", {"ref_tensor": COUNTS, "value": np.float32(1.5)}),
    ("range_1d", {"start": np.float32(0.5), "end": np.float32(3.1), "step": np.float32(0.5)}),
    ("range_1d", {"start": np.int32(7), "end": np.int32(0), "step": np.int32(-2)}),
    ("band_part", {"x": X, "lower": 1, "upper": 0}),
    ("band_part", {"x": COUNTS, "lower": -1, "upper": 1}),
    ("non_zero", {"x": LOGICAL}),
]
REDUCTIONS: list[Case] = [
    *(
        (f"reduce_{name}", {"x": np.abs(X), **options})
        for name in ("l1_norm", "l2_norm", "log_sum", "log_sum_exp", "max", "mean", "min", "prod", "sum", "sum_square")
        for options in ({"axes": [0, -1], "keep_dims": True}, {"axes": [1]}, {})
    ),
    *((f"reduce_{name}", {"x": COUNTS, "axes": [1]}) for name in ("l1_norm", "max", "min", "prod", "sum")),
    *((f"reduce_arg{name}", {"x": COUNTS, "axis": 1, "keep_dims": keep}) for name in ("max", "min") for keep in (0, 1)),
    ("reduce_argmax", {"x": COUNTS, "output_dtype": "uint16"}),
    ("cumsum", {"x": X}),
    ("cumsum", {"x": COUNTS, "axis": 1, "reverse": True}),
    ("argsort", {"x": COUNTS}),
    ("argsort", {"x": X, "axis": 1, "ascending": True}),
    ("topk", {"x": X, "k": 2}),
    ("topk", {"x": COUNTS, "k": 2, "axis": 0, "ascending": True}),
    ("topk", {"x": X, "k": 1, "return_indices": False, "sort": False}),
    ("topk", {"x": X, "k": 3, "output_indices_dtype": "uint16"}),
]


def _built(mb: Any, kind: str, arguments: dict[str, Any]) -> Any:
    fixed = {key: bool(value) if key == "keep_dims" else value for key, value in arguments.items()}
    return getattr(mb, kind)(**fixed)


@pytest.mark.parametrize(("cases", "deployment"), [(SHAPES, "iOS18"), (REDUCTIONS, "iOS17")], ids=["shape", "reduce"])
def test_as_coremltools_folds_it(evaluate: Any, cases: list[Case], deployment: str) -> None:
    sizes: list[int] = []

    def build(mb: Any) -> list[Any]:
        made = [_built(mb, kind, arguments) for kind, arguments in cases]
        sizes.extend(len(item) if isinstance(item, list | tuple) else 1 for item in made)
        return made

    found = evaluate(build, deployment)
    labels = [case for case, size in zip(cases, sizes, strict=True) for _ in range(size)]
    for (kind, arguments), (value, got) in zip(labels, found, strict=True):
        rest = {key: item for key, item in arguments.items() if key not in ("x", "values")}
        assert value.val is not None, kind
        # Sums in another order: a few units in the last place of float32.
        np.testing.assert_allclose(got, value.val, rtol=1e-6, err_msg=f"{kind} {rest}")
        assert got.shape == np.shape(value.val), (kind, rest)


def test_where_coremltools_does_not_fold(evaluate: Any) -> None:
    import torch

    lengths = np.array([0, 2, 3], np.int32)
    image = torch.from_numpy(X)
    reversed_rows = X.copy()
    for row, length in enumerate(lengths):
        reversed_rows[:, row, :length] = reversed_rows[:, row, :length][:, ::-1]
    two, three = np.eye(2, 5, dtype=np.float32), np.eye(3, dtype=np.int32)
    cases: list[tuple[str, dict[str, Any], Any]] = [
        ("reverse_sequence", {"x": X, "lengths": lengths, "seq_axis": 2, "batch_axis": 1}, reversed_rows),
        ("sliding_windows", {"x": X, "axis": 1, "size": 2}, image.unfold(1, 2, 1).movedim(-1, 2)),
        ("sliding_windows", {"x": X, "axis": -1, "size": 2, "stride": 2}, image.unfold(2, 2, 2)),
        ("concat", {"values": (X, -X), "axis": 1, "interleave": True}, np.stack([X, -X], 2).reshape(2, 6, 4)),
        (
            "one_hot",
            {"indices": np.array([0, 1], np.int32), "one_hot_vector_size": 5, "on_value": 1.0, "off_value": 0.0},
            two,
        ),
        ("one_hot", {"indices": np.array([0, 1, 2], np.int32), "one_hot_vector_size": 3, "axis": 0}, three),
        ("crop", {"x": X, "crop_height": [1, 0], "crop_width": [1, 2]}, X[:, 1:, 1:2]),
        ("cumsum", {"x": X, "axis": 2, "exclusive": True}, np.cumsum(X, 2) - X),
        (
            "cumsum",
            {"x": X, "axis": 1, "exclusive": True, "reverse": True},
            np.cumsum(X[:, ::-1], 1)[:, ::-1] - X,
        ),
        (
            "reshape_like",
            {
                "x": X,
                "ref_tensors": (np.zeros((6, 5), np.float32), np.zeros((9, 2, 2), np.float32)),
                "begins": (0, 1),
                "ends": (1, 0),
                "end_masks": (False, True),
            },
            X.reshape(6, 2, 2),
        ),
    ]

    def build(mb: Any, x: Any) -> list[Any]:
        given = [{key: x if item is X else item for key, item in arguments.items()} for _, arguments, _ in cases]
        return [getattr(mb, kind)(**arguments) for (kind, _, _), arguments in zip(cases, given, strict=True)]

    found = evaluate(build, inputs={"x": X})
    for (kind, _, want), (_, got) in zip(cases, found, strict=True):
        # Subtracting the element itself from its running sum costs a rounding of numbers up to 10.
        np.testing.assert_allclose(got, np.asarray(want), atol=1e-6, err_msg=kind)


@pytest.mark.parametrize(
    ("deployment", "build", "reason"),
    [
        ("iOS17", lambda mb, x: mb.reduce_mean(x=mb.cast(x=x, dtype="int32"), axes=[2]), "fraction"),
        ("iOS17", lambda mb, x: mb.one_hot(indices=mb.cast(x=x, dtype="int32"), one_hot_vector_size=3), "negative"),
        ("iOS17", lambda mb, x: mb.slice_by_size(x=x, begin=mb.shape(x=x), size=[1, 1, 1]), "outside"),
        (
            "iOS17",
            lambda mb, x: mb.fill(shape=mb.cast(x=mb.reduce_max(x=x, axes=[0, 1]), dtype="int32")),
            "not possible",
        ),
    ],
)
def test_refusals_name_the_operation(evaluate: Any, deployment: str, build: Any, reason: str) -> None:
    with pytest.raises(EvaluationError, match=f"operation.*{reason}"):
        evaluate(build, deployment, {"x": np.arange(-24, 0, dtype=np.float32).reshape(2, 3, 4)})


def test_a_pessimistic_sum_rounds_every_step(evaluate: Any) -> None:
    x = np.full((2, 4096), 0.1, np.float16)
    ((_, got),) = evaluate(lambda mb, x: mb.reduce_sum(x=x, axes=[1]), "iOS16", {"x": x}, "accumulate16")
    total = np.float16(0)
    for _ in range(4096):
        total = np.float16(total + np.float16(0.1))
    assert total < 300  # 409.6 in wide arithmetic; from 256 on a step of 0.1 is lost
    np.testing.assert_array_equal(got, [total, total])

"""Branches, loops, lists, states, classifiers and box suppression, run from saved files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeport.targets.coreml.evaluator.registry import EvaluationError
from edgeport.targets.coreml.evaluator.run import Evaluator

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("value", [-1.0, 3.0])
def test_a_branch_sees_values_from_outside(evaluate: Any, value: float) -> None:
    def build(mb: Any, x: Any) -> list[Any]:
        twice = mb.mul(x=x, y=np.float32(2))  # used in one branch only

        positive = mb.squeeze(x=mb.greater(x=x, y=np.float32(0)))
        return [mb.cond(pred=positive, _true_fn=lambda: mb.sub(x=twice, y=x), _false_fn=lambda: mb.exp(x=x))]

    ((_, got),) = evaluate(build, inputs={"x": np.array([value], np.float32)})
    np.testing.assert_allclose(got, [value if value > 0 else np.exp(value)], rtol=1e-6)


def test_a_loop_inside_a_loop(evaluate: Any) -> None:
    """Sums i * j for 0 <= j < i < 5, reading `x` of the outermost block in the innermost."""

    def build(mb: Any, x: Any) -> list[Any]:
        def turn(i: Any, total: Any) -> list[Any]:
            def inner(j: Any, part: Any) -> list[Any]:
                product = mb.mul(x=mb.cast(x=mb.mul(x=i, y=j), dtype="fp32"), y=x)
                return [mb.add(x=j, y=np.int32(1)), mb.add(x=part, y=product)]

            _, part = mb.while_loop(
                _cond=lambda j, part: mb.less(x=j, y=i), _body=inner, loop_vars=(np.int32(0), total)
            )
            return [mb.add(x=i, y=np.int32(1)), part]

        start = mb.mul(x=x, y=np.float32(0))
        return list(
            mb.while_loop(_cond=lambda i, _: mb.less(x=i, y=np.int32(5)), _body=turn, loop_vars=(np.int32(0), start))
        )

    found = evaluate(build, inputs={"x": np.array([2.0], np.float32)})
    np.testing.assert_array_equal(found[0][1], 5)
    np.testing.assert_array_equal(found[1][1], [2.0 * sum(i * j for i in range(5) for j in range(i))])


def test_lists(evaluate: Any) -> None:
    x = RNG.standard_normal((3, 2)).astype(np.float32)

    def build(mb: Any, x: Any) -> list[Any]:
        empty = mb.make_list(init_length=2, elem_shape=(np.int32(2),), dynamic_length=True)
        filled = mb.list_scatter(ls=empty, indices=np.array([0, 1, 2], np.int32), value=x)
        changed = mb.list_write(ls=filled, index=np.int32(1), value=mb.gather(x=x, indices=np.int32(0), axis=0))
        return [
            mb.list_length(ls=changed),
            mb.list_read(ls=changed, index=np.int32(1)),
            mb.list_gather(ls=changed, indices=np.array([2, 1], np.int32)),
            mb.list_read(ls=filled, index=np.int32(1)),
        ]

    length, second, gathered, untouched = (got for _, got in evaluate(build, inputs={"x": x}))
    assert length == 3
    np.testing.assert_array_equal(second, x[0])
    np.testing.assert_array_equal(gathered, x[[2, 0]])
    np.testing.assert_array_equal(untouched, x[1])


def test_a_state_carries_over(save: Any, tmp_path: Any) -> None:
    """A state counts up by the input; the value read before the write stays what it was."""
    x = np.array([1.0, 2.0], np.float16)

    def build(mb: Any, x: Any, seen: Any) -> list[Any]:
        before = mb.read_state(input=seen)
        after = mb.coreml_update_state(state=seen, value=mb.add(x=before, y=x))
        return [mb.identity(x=before), mb.mul(x=after, y=np.float16(2))]

    path, _ = save(tmp_path / "m.mlpackage", build, "iOS18", {"x": x}, {"seen": x})
    evaluator, state = Evaluator(path), dict[str, np.ndarray]()
    for turn in range(3):
        before, doubled = evaluator.run({"x": x}, state=state).outputs.values()
        np.testing.assert_array_equal(before, turn * x.astype(np.float32))
        np.testing.assert_array_equal(doubled, 2 * (turn + 1) * x.astype(np.float32))
    np.testing.assert_array_equal(state["seen"], 3 * x)


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # a folder of coremltools
@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 8, 9]])
def test_classifiers(tmp_path: Any, save: Any, labels: list[Any]) -> None:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 3))])
    def program(x: Any) -> Any:
        return mb.softmax(x=x, axis=-1, name="p")

    model = ct.convert(
        program,
        classifier_config=ct.ClassifierConfig(labels),
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS15,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "c.mlpackage"))
    evaluator = Evaluator(tmp_path / "c.mlpackage")
    outputs = evaluator.run({"x": np.array([[0, 3, 1]], np.float32)}).outputs
    label, probabilities = (np.asarray(value)[()] for value in outputs.values())
    want = np.exp([0, 3, 1]) / np.exp([0, 3, 1]).sum()
    assert label == labels[1]
    assert list(probabilities) == labels
    np.testing.assert_allclose(list(probabilities.values()), want, rtol=1e-6)
    assert evaluator.labels == tuple(str(item) for item in labels)


@pytest.mark.parametrize("by_class", [False, True])
def test_non_maximum_suppression_as_onnx_runtime(evaluate: Any, by_class: bool) -> None:
    import onnx
    import onnxruntime

    centres, sizes = RNG.uniform(0, 10, (1, 40, 2)), RNG.uniform(1, 5, (1, 40, 2))
    boxes = np.concatenate([centres, sizes], 2).astype(np.float32)
    scores = RNG.permutation(80).reshape(1, 40, 2).astype(np.float32) / 80
    best = scores.max(2)
    # ONNX suppresses every class by itself; boxes that count with their best class only are the same as one score each.
    separate = np.where(scores == best[..., None], scores, -1) if by_class else best[..., None]
    node = onnx.helper.make_node("NonMaxSuppression", ["b", "s", "n", "i", "t"], ["y"], center_point_box=1)
    constants = {"n": np.array(40), "i": np.array(0.3, np.float32), "t": np.array(0.255, np.float32)}
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info(name, 1, None) for name in ("b", "s")],
        [onnx.helper.make_tensor_value_info("y", 7, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (chosen,) = session.run(None, {"b": boxes, "s": separate.transpose(0, 2, 1).copy()})
    want = sorted(chosen[:, 2].tolist(), key=lambda index: -best[0, index])

    def build(mb: Any, boxes: Any, scores: Any) -> Any:
        return mb.non_maximum_suppression(
            boxes=boxes, scores=scores, iou_threshold=np.float32(0.3), score_threshold=np.float32(0.255), max_boxes=30,
            per_class_suppression=by_class,
        )  # fmt: skip

    kept_boxes, kept_scores, indices, count = (
        got for _, got in evaluate(build, "iOS16", {"boxes": boxes, "scores": scores})
    )
    assert 5 < len(want) < 30
    assert count.tolist() == [len(want)]
    assert indices[0].tolist() == want + [-1] * (30 - len(want))
    np.testing.assert_array_equal(kept_boxes[0, : len(want)], boxes[0, want])
    np.testing.assert_array_equal(kept_scores[0, : len(want)], scores[0, want])
    assert not kept_boxes[0, len(want) :].any()


def test_suppression_since_ios17_has_boxes_last(evaluate: Any) -> None:
    boxes = np.array([[[1, 1, 2, 2], [1.1, 1, 2, 2], [8, 8, 2, 2]]], np.float32).transpose(0, 2, 1).copy()
    scores = np.array([[[0.2, 0.9, -5.0]]], np.float32)

    def build(mb: Any, boxes: Any, scores: Any) -> Any:
        return mb.non_maximum_suppression(boxes=boxes, scores=scores, iou_threshold=np.float32(0.5), max_boxes=3)

    kept, _, indices = (got for _, got in evaluate(build, "iOS17", {"boxes": boxes, "scores": scores}))
    assert indices.tolist() == [[1, 2, -1]]
    np.testing.assert_array_equal(kept[0, :, 0], boxes[0, :, 1])


def test_an_element_never_written_is_refused(evaluate: Any) -> None:
    def build(mb: Any, x: Any) -> list[Any]:
        made = mb.make_list(init_length=1, elem_shape=(np.int32(1),), dynamic_length=True)
        return [mb.list_read(ls=mb.list_write(ls=made, index=np.int32(3), value=x), index=np.int32(2))]

    with pytest.raises(EvaluationError, match="element 2 of a list of 4 was never written"):
        evaluate(build, inputs={"x": np.zeros(1, np.float32)})


def test_a_loop_fills_a_list(evaluate: Any) -> None:
    x = RNG.standard_normal((4, 2)).astype(np.float32)

    def build(mb: Any, x: Any) -> list[Any]:
        def turn(i: Any, rows: Any) -> list[Any]:
            row = mb.gather(x=x, indices=i, axis=0)
            return [mb.add(x=i, y=np.int32(1)), mb.list_write(ls=rows, index=i, value=mb.mul(x=row, y=row))]

        empty = mb.make_list(init_length=4, elem_shape=(np.int32(2),), dynamic_length=False)
        _, rows = mb.while_loop(
            _cond=lambda i, rows: mb.less(x=i, y=np.int32(4)), _body=turn, loop_vars=(np.int32(0), empty)
        )
        return [mb.list_gather(ls=rows, indices=np.arange(4, dtype=np.int32))]

    ((_, got),) = evaluate(build, inputs={"x": x})
    np.testing.assert_array_equal(got, x * x)

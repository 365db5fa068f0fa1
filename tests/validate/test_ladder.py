from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from function_runner import FunctionRunner, noisy, plus, samples
from onnx import TensorProto, helper

from edgeport.errors import CalibrationError, ModelError, UsageError
from edgeport.sample import Array, Sample
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.user_metric import as_metric


def sqnr(reference: list[Array], compared: list[Array]) -> float:
    a, b = (np.concatenate([x.ravel() for x in xs]).astype(np.float64) for xs in (reference, compared))
    return float(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()))


def test_every_rung_compares_its_two_models() -> None:
    data = samples(24)
    runners = {
        "source": noisy(1, 0.0),
        "canonical": noisy(2, 1e-4),
        "float_artifact": noisy(3, 1e-3),
        "quantized": noisy(4, 0.1),
        "artifact": noisy(5, 0.02),
    }
    ladder = measure_ladder(data, **runners)
    out = {name: [r.function(s["x"])["y"] for s in data] for name, r in runners.items()}
    for rung, before, after in (
        ("capture", "source", "canonical"),
        ("lowering", "canonical", "float_artifact"),
        ("quantization", "canonical", "quantized"),
        ("kernels", "quantized", "artifact"),
        ("total", "source", "artifact"),
    ):
        measured = ladder.rung(rung)
        assert (measured.reference, measured.compared, measured.reason) == (before, after, None)
        assert measured.outputs[0].sqnr_db == pytest.approx(sqnr(out[before], out[after]), rel=1e-12)
    assert ladder.samples == 24
    assert ladder.verdict == "measured"
    assert ladder.metrics == ()
    # Powers by independent means: the kernels step is charged without the lowering's own noise.
    power = {
        "capture": sum(
            np.square(a - b.astype(np.float64)).sum() for a, b in zip(out["source"], out["canonical"], strict=True)
        ),
        "lowering": sum(
            np.square(a - b.astype(np.float64)).sum()
            for a, b in zip(out["canonical"], out["float_artifact"], strict=True)
        ),
        "quantization": sum(
            np.square(a - b.astype(np.float64)).sum() for a, b in zip(out["canonical"], out["quantized"], strict=True)
        ),
        "kernels": sum(
            np.square(a - b.astype(np.float64)).sum() for a, b in zip(out["quantized"], out["artifact"], strict=True)
        ),
    }
    power["kernels"] -= power["lowering"]
    whole = sum(power.values())
    # float32 subtraction above against float64 in the ladder: relative 1e-6 of each difference.
    assert ladder.blame.shares == pytest.approx({k: v / whole for k, v in power.items()}, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("guilty", ["capture", "lowering", "quantization", "kernels"])
def test_blame_names_the_step(guilty: str) -> None:
    good, bad = plus(0.0), plus(0.25)
    after = ["capture", "quantization", "kernels"].index(guilty) if guilty != "lowering" else 2
    source, canonical, quantized, artifact = (bad if i > after else good for i in range(4))
    ladder = measure_ladder(
        samples(),
        source=source,
        canonical=canonical,
        # A wrong lowering is wrong in float and in integers: the kernels step must not take the blame for it.
        float_artifact=bad if guilty == "lowering" else canonical,
        quantized=quantized,
        artifact=artifact,
    )
    assert ladder.blame.rung == guilty
    assert ladder.blame.shares[guilty] == 1
    assert f"{guilty} step causes 100% of the noise in output 'y'" in ladder.blame.sentence


def test_each_runner_runs_once_a_sample() -> None:
    both, quantized, artifact = plus(0), plus(0.01), plus(0.02)
    done: list[int] = []
    measure_ladder(
        iter(samples(5)),
        source=both,
        canonical=both,
        float_artifact=None,
        quantized=quantized,
        artifact=artifact,
        progress=done.append,
    )
    assert [len(r.calls) for r in (both, quantized, artifact)] == [5, 5, 5]
    assert done == [1, 2, 3, 4, 5]


def test_float_artifact_has_lowering_only() -> None:
    ladder = measure_ladder(
        samples(), source=plus(0), canonical=plus(0), float_artifact=None, quantized=None, artifact=plus(0.5)
    )
    for name in ("quantization", "kernels"):
        assert ladder.rung(name).outputs == ()  # type: ignore[arg-type]
        assert "not applicable" in str(ladder.rung(name).reason)  # type: ignore[arg-type]
    assert ladder.rung("lowering").compared == "artifact"
    assert ladder.rung("capture").outputs[0].identical
    assert ladder.blame.rung == "lowering"


def test_integer_artifact_without_float_artifact_says_so() -> None:
    ladder = measure_ladder(
        samples(), source=plus(0), canonical=plus(0), float_artifact=None, quantized=plus(0.1), artifact=plus(0.1)
    )
    assert ladder.rung("lowering").reason == "no float artifact was made"
    assert ladder.blame.rung == "quantization"


def test_no_drift() -> None:
    same = plus(0)
    ladder = measure_ladder(samples(), source=same, canonical=same, float_artifact=None, quantized=None, artifact=same)
    assert ladder.blame.sentence == "No drift: every output equals the source's."
    assert ladder.findings == ()


def test_worst_output_is_blamed() -> None:
    def run(x: Array) -> dict[str, Array]:
        return {"good": x + np.float32(0.001), "bad": x + np.float32(0.5)}

    clean = plus(0, ("good", "bad"))
    ladder = measure_ladder(
        samples(),
        source=clean,
        canonical=clean,
        float_artifact=None,
        quantized=None,
        artifact=FunctionRunner(run, ("good", "bad")),
    )
    assert ladder.blame.output == "bad"


def test_nan_is_an_error_and_names_the_step() -> None:
    def run(x: Array) -> dict[str, Array]:
        y = x.copy()
        y[0, 1] = np.nan
        return {"y": y}

    good, bad = plus(0), FunctionRunner(run)
    ladder = measure_ladder(samples(3), source=good, canonical=good, float_artifact=good, quantized=bad, artifact=bad)
    [finding] = ladder.findings
    assert (finding.severity, finding.code) == ("error", "non-finite-output")
    assert "has 3 NaN" in finding.message
    assert "quantization" in finding.message
    assert ladder.blame.rung == "quantization"


def test_silent_reference_warns() -> None:
    zero = FunctionRunner(lambda x: {"y": np.zeros_like(x)})
    ladder = measure_ladder(samples(3), source=zero, canonical=zero, float_artifact=None, quantized=None, artifact=zero)
    assert [f.code for f in ladder.findings] == ["silent-reference"]


def test_integer_outputs_are_blamed_by_difference() -> None:
    def ids(shift: int) -> FunctionRunner:
        return FunctionRunner(lambda x: {"y": x.argmax(-1) + shift})

    ladder = measure_ladder(
        samples(4), source=ids(0), canonical=ids(0), float_artifact=None, quantized=ids(1), artifact=ids(1)
    )
    assert ladder.rung("total").outputs[0].exact_match == 0
    assert ladder.blame.rung == "quantization"
    assert ladder.findings == ()


def test_models_that_do_not_match_are_refused() -> None:
    good = plus(0)
    flat = FunctionRunner(lambda x: {"y": x[0]})
    wide = FunctionRunner(lambda x: {"y": x.astype(np.float64)})
    other = FunctionRunner(lambda x: {"z": x}, ("z",))
    for bad, words in ((flat, "shapes"), (wide, "dtypes"), (other, "outputs 'z'")):
        with pytest.raises(ModelError, match=words):
            measure_ladder(samples(2), source=good, canonical=good, float_artifact=None, quantized=good, artifact=bad)


def test_a_float16_source_is_compared_with_its_float32_graph() -> None:
    half = FunctionRunner(lambda x: {"y": x.astype(np.float16)})
    ladder = measure_ladder(
        samples(), source=half, canonical=plus(0), float_artifact=None, quantized=None, artifact=plus(0)
    )
    assert ladder.rung("capture").outputs[0].dtype == "float16"
    # float16 rounds with a relative error of 2^-11 at most, so 66 dB at the very least.
    assert (ladder.rung("capture").outputs[0].sqnr_db or 0) > 66


def labels_of(data: list[Sample]) -> list[int]:
    return [int(s["x"].argmax()) for s in data]


def test_top1_on_labels() -> None:
    data = samples(50)
    rng = np.random.default_rng(5)
    labels = [y if rng.random() < 0.8 else (y + 1) % 4 for y in labels_of(data)]
    runners = {
        "source": noisy(1, 0.1),
        "canonical": noisy(1, 0.1),
        "quantized": noisy(2, 0.5),
        "artifact": noisy(3, 0.6),
    }
    ladder = measure_ladder(data, **runners, float_artifact=None, labels=iter(labels))
    [top1] = ladder.metrics
    expected = {
        name: np.mean([r.function(s["x"])["y"].argmax() == y for s, y in zip(data, labels, strict=True)])
        for name, r in runners.items()
    }
    assert dict(top1.values) == pytest.approx(expected, rel=1e-12)
    assert top1.drop == pytest.approx(expected["source"] - expected["artifact"], rel=1e-12)
    assert (top1.name, top1.output, top1.samples) == ("top1", "y", 50)
    assert top1.drop_interval is not None
    assert top1.drop_interval.low < top1.drop < top1.drop_interval.high


def test_top1_of_tokens_ignores_negative_labels() -> None:
    data = samples(6, (1, 3, 4))
    labels = [np.array([[-100, int(s["x"][0, 1].argmax()), 0]]) for s in data]
    same = plus(0)
    ladder = measure_ladder(
        data, source=same, canonical=same, float_artifact=None, quantized=None, artifact=same, labels=labels
    )
    hits = [1.0 for _ in data] + [float(s["x"][0, 2].argmax() == 0) for s in data]
    assert ladder.metrics[0].values["artifact"] == pytest.approx(np.mean(hits))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1], "there are 2 labels"),
        ([0] * 4, "more labels"),
        ([0, 4, 0], "label 4 of sample 1 is not a class"),
        ([0, [1, 2], 0], "label of sample 1"),
    ],
)
def test_labels_that_do_not_go_with_the_samples(labels: list[object], words: str) -> None:
    same = plus(0)
    with pytest.raises(CalibrationError, match=words):
        measure_ladder(
            samples(3), source=same, canonical=same, float_artifact=None, quantized=None, artifact=same, labels=labels
        )


def test_labels_of_another_kind_give_no_top1() -> None:
    same = plus(0)
    stages = {"source": same, "canonical": same, "float_artifact": None, "quantized": None, "artifact": same}
    ladder = measure_ladder(samples(3), **stages, labels=[[0.5, 0.1]] * 3)  # type: ignore[arg-type]
    assert ladder.metrics == ()
    assert [f.code for f in ladder.findings] == ["labels-not-used"]

    def distance(sample: Sample, outputs: dict[str, Array], label: object) -> float:
        return float(np.asarray(label).sum())

    ladder = measure_ladder(samples(3), **stages, labels=[[0.5, 0.1]] * 3, metric=as_metric(distance))  # type: ignore[arg-type]
    assert ladder.metrics[0].values == pytest.approx({"source": 0.6, "artifact": 0.6})
    assert ladder.findings == ()


def test_no_samples() -> None:
    same = plus(0)
    with pytest.raises(CalibrationError, match="no held-out samples"):
        measure_ladder([], source=same, canonical=same, float_artifact=None, quantized=None, artifact=same)


def test_users_metrics_in_both_forms() -> None:
    data = samples(12)

    def mean_output(sample: Sample, outputs: dict[str, Array]) -> float:
        return float(outputs["y"].mean() - sample["x"].mean())

    def task(run):  # type: ignore[no-untyped-def]
        return {"top1": 0.5, "first": run(data[0])[0][0, 0]}

    stages = {
        "source": plus(0.5),
        "canonical": plus(0.5),
        "float_artifact": None,
        "quantized": None,
        "artifact": plus(0.25),
    }
    [own] = measure_ladder(data, **stages, metric=as_metric(mean_output)).metrics  # type: ignore[arg-type]
    assert own.name == "mean_output"
    # The offsets are exact in float32, adding them to N(0,1) values rounds by 6e-8.
    assert own.values == pytest.approx({"source": 0.5, "artifact": 0.25}, abs=1e-6)
    assert own.drop == pytest.approx(0.25, abs=1e-6)
    both = measure_ladder(data, **stages, metric=as_metric(task), labels=labels_of(data)).metrics  # type: ignore[arg-type]
    assert [m.name for m in both] == ["top1", "first"]
    assert both[0].values["artifact"] == 0.5  # the user's, not the built-in one
    assert both[1].drop == pytest.approx(0.25, abs=1e-6)
    assert both[1].samples is None


def test_user_metric_names_that_are_taken() -> None:
    same = plus(0)
    stages = {"source": same, "canonical": same, "float_artifact": None, "quantized": None, "artifact": same}
    with pytest.raises(UsageError, match="'sqnr' is taken"):
        measure_ladder(samples(2), **stages, metric=as_metric(lambda run: {"sqnr": 1.0}, "m"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes a label"):
        measure_ladder(samples(2), **stages, metric=as_metric(lambda s, o, y: 1.0, "m"))  # type: ignore[arg-type]


def test_with_onnx_runtime() -> None:
    """Source, canonical and a Q/DQ graph in ONNX Runtime against numpy."""
    from edgeport.validate.onnx_runner import OnnxRunner

    scale = np.float32(0.05)

    def model(quantized: bool) -> OnnxRunner:
        nodes = [helper.make_node("Relu", ["x"], ["r"])]
        if quantized:
            nodes += [
                helper.make_node("QuantizeLinear", ["r", "s", "z"], ["q"]),
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", ["r"], ["y"]))
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
            [
                helper.make_tensor("s", TensorProto.FLOAT, [], [scale]),
                helper.make_tensor("z", TensorProto.INT8, [], [-128]),
            ],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return OnnxRunner(ir.from_proto(proto))

    data = samples(10)
    plain, quantized = model(False), model(True)
    ladder = measure_ladder(
        data, source=plain, canonical=plain, float_artifact=plain, quantized=quantized, artifact=quantized
    )
    relu = [np.maximum(s["x"], 0) for s in data]
    rounded = [(np.clip(np.rint(r / scale) - 128, -128, 127) + 128).astype(np.float32) * scale for r in relu]
    # numpy multiplies in float32 as DequantizeLinear does, so only the sums' order differs.
    assert ladder.rung("quantization").outputs[0].sqnr_db == pytest.approx(sqnr(relu, rounded), rel=1e-9)
    assert ladder.rung("kernels").outputs[0].identical
    assert ladder.blame.rung == "quantization"


def test_what_the_float_model_says_of_a_sample_comes_first() -> None:
    from edgeport.validate.onnx_runner import OnnxRunner

    def refuse(x: Array) -> dict[str, Array]:
        raise ModelError("the file does not run")

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    plain, artifact = OnnxRunner(ir.from_proto(proto)), FunctionRunner(refuse)
    for given, error in ((samples(1), ModelError), (samples(1, (1, 5)), CalibrationError)):
        with pytest.raises(error):
            measure_ladder(given, source=plain, canonical=plain, float_artifact=None, quantized=None, artifact=artifact)

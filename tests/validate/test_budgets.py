from __future__ import annotations

import numpy as np
import pytest
from function_runner import FunctionRunner, plus, samples

from edgeport.errors import UsageError
from edgeport.sample import Array, Sample
from edgeport.validate.budgets import BudgetResult, check_names, judge, over_budget, parse_budget
from edgeport.validate.ladder import measure_ladder
from edgeport.validate.rungs import Ladder
from edgeport.validate.user_metric import UserMetric, as_metric


def ladder_of(
    artifact: FunctionRunner,
    *,
    count: int = 40,
    labels: list[int] | None = None,
    metric: UserMetric | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> Ladder:
    clean = plus(0, outputs)
    return measure_ladder(
        samples(count),
        source=clean,
        canonical=clean,
        float_artifact=None,
        quantized=None,
        artifact=artifact,
        labels=labels,
        metric=metric,
    )


def one(text: str, ladder: Ladder) -> BudgetResult:
    return judge([parse_budget(text)], ladder)[0][0]


def flips(count: int) -> FunctionRunner:
    """Moves the largest element of the first `count` samples seen."""
    seen = [0]

    def run(x: Array) -> dict[str, Array]:
        seen[0] += 1
        return {"y": np.roll(x, 1, -1) if seen[0] <= count else x}

    return FunctionRunner(run)


def truth(count: int) -> list[int]:
    return [int(s["x"].argmax()) for s in samples(count)]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("sqnr>=25", "sqnr>=25"),
        (" top1_drop <= 1e-2 ", "top1_drop<=0.01"),
        ("model/out.1:0.cosine>=0.99", "model/out.1:0.cosine>=0.99"),
        ("per_drop<=-0.5", "per_drop<=-0.5"),
        ("error_rate<=0.1", "error_rate<=0.1"),
    ],
)
def test_parse(text: str, normal: str) -> None:
    assert parse_budget(text).text == normal


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sqnr", "is not FIGURE>=VALUE"),
        ("sqnr>25", "is not FIGURE>=VALUE"),
        ("sqnr==25", "is not FIGURE>=VALUE"),
        (">=3", "is not FIGURE>=VALUE"),
        ("sqnr>=25dB", "'25dB' is not a number"),
        ("sqnr>=nan", "'nan' is not a number"),
        ("sqnr>=inf", "'inf' is not a number"),
        ("top1_drop<=1%", "1 % is 0.01"),
        ("sqnr<=25", "write sqnr>=25"),
        ("y.max_abs>=1", "write y.max_abs<=1"),
        ("top1_drop>=0.01", "write top1_drop<=0.01"),
        ("top1_drop<=1", "1 percentage point is 0.01"),
        ("top1_agreement>=98", "99 % is 0.99"),
    ],
)
def test_parse_refuses(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_budget(text)
    assert words in str(caught.value)


def test_names_are_checked_before_any_work() -> None:
    per_sample = as_metric(lambda s, o: 1.0, "iou")
    check_names([parse_budget("sqnr>=1"), parse_budget("out.0.max_abs<=1")])
    check_names([parse_budget("top1_drop<=0.1")], labelled=True)
    check_names([parse_budget("iou>=0.5"), parse_budget("iou_drop<=0.1")], metric=per_sample)
    check_names([parse_budget("anything>=0.5")], metric=as_metric(lambda run: 1.0, "m"))
    for text, words in (
        ("top1_drop<=0.1", "needs labels for the held-out data"),
        ("sqnrr>=3", "did you mean 'sqnr'?"),
        ("cosine_drop<=0.1", "cosine already measures the drift"),
        ("y.foo>=3", "no figure 'y.foo'"),
    ):
        with pytest.raises(UsageError) as caught:
            check_names([parse_budget(text)])
        assert words in str(caught.value)
    with pytest.raises(UsageError, match="did you mean 'iou'"):
        check_names([parse_budget("iuo>=3")], metric=per_sample)


def test_the_worst_output_counts_unless_one_is_named() -> None:
    def run(x: Array) -> dict[str, Array]:
        return {"a": x + np.float32(0.125), "b.sqnr": x}

    ladder = ladder_of(FunctionRunner(run, ("a", "b.sqnr")), outputs=("a", "b.sqnr"))
    expected = ladder.rung("total").outputs[0].sqnr_db
    assert expected is not None
    result = one(f"sqnr>={expected - 0.01}", ladder)
    assert (result.passed, result.output, result.value, result.interval) == (True, "a", expected, None)
    assert not one(f"sqnr>={expected + 0.01}", ladder).passed
    assert one("max_abs<=0.126", ladder).output == "a"
    identical = one("b.sqnr.sqnr>=200", ladder)
    assert (identical.passed, identical.value, identical.output) == (True, None, "b.sqnr")
    with pytest.raises(UsageError, match="no output 'c'"):
        one("c.sqnr>=3", ladder)


def test_undefined_figures_fail() -> None:
    ladder = ladder_of(FunctionRunner(lambda x: {"y": x * np.float32(np.nan)}))
    for text in ("sqnr>=-100", "cosine>=-1", "max_abs<=1e30"):
        result = one(text, ladder)
        assert (result.passed, result.value) == (False, None)


def test_figures_an_output_does_not_have() -> None:
    ids = FunctionRunner(lambda x: {"y": x.argmax(-1)})
    ladder = measure_ladder(samples(3), source=ids, canonical=ids, float_artifact=None, quantized=None, artifact=ids)
    assert one("exact_match>=1", ladder).passed
    with pytest.raises(UsageError, match="have no sqnr, only max_abs, exact_match"):
        one("sqnr>=3", ladder)
    with pytest.raises(UsageError, match="needs labels"):
        one("top1_drop<=0.1", ladder)


def test_point_estimate_decides_and_the_interval_warns() -> None:
    ladder = ladder_of(flips(2), count=200, labels=truth(200))
    results, findings = judge([parse_budget("top1_drop<=0.01")], ladder)
    assert results[0].value == 0.01
    assert results[0].passed  # 2 of 200 is not over 0.01
    assert not results[0].certain
    [finding] = findings
    assert (finding.severity, finding.code) == ("warning", "budget-not-certain")
    assert "over 200 samples" in finding.message
    over, findings = judge([parse_budget("top1_drop<=0.0099")], ladder)
    assert not over[0].passed
    assert [(f.severity, f.code) for f in findings] == [("error", "over-budget")]
    wide, findings = judge([parse_budget("top1_drop<=0.2"), parse_budget("top1_agreement>=0.9")], ladder)
    assert [(r.passed, r.certain) for r in wide] == [(True, True)] * 2
    assert findings == ()
    assert wide[1].interval is not None
    assert wide[1].value == 0.99


def test_top1_itself_and_one_sample() -> None:
    ladder = ladder_of(flips(0), count=1, labels=truth(1))
    results, findings = judge([parse_budget("top1>=0.9")], ladder)
    assert (results[0].passed, results[0].certain) == (True, False)
    assert "single sample" in findings[0].message


def test_users_metric_and_rounding_of_differences() -> None:
    values = iter([0.925, 0.915])
    ladder = ladder_of(plus(0), metric=as_metric(lambda run: {"acc": next(values)}, "m"))
    assert ladder.metrics[0].drop > 0.01  # 0.925 - 0.915 in floats
    result = one("acc_drop<=0.01", ladder)
    assert (result.passed, result.certain, result.interval) == (True, True, None)
    assert not one("acc_drop<=0.00999", ladder).passed
    assert one("acc>=0.915", ladder).passed
    with pytest.raises(UsageError, match="did you mean 'acc'"):
        one("ac>=0.915", ladder)


def test_per_sample_metric_has_a_paired_interval() -> None:
    def offset(sample: Sample, outputs: dict[str, Array]) -> float:
        return float(1 - np.abs(outputs["y"]).mean())

    ladder = ladder_of(plus(0.01), metric=as_metric(offset))
    result = one("offset_drop<=0.02", ladder)
    assert result.interval is not None
    assert result.interval.low < (result.value or 0) < result.interval.high
    assert result.interval.method == "student-t"


def test_over_budget_line() -> None:
    ladder = ladder_of(plus(0.5))
    results, _ = judge([parse_budget("sqnr>=80"), parse_budget("max_abs<=0.1"), parse_budget("cosine>=0.1")], ladder)
    line = over_budget(results)
    assert line is not None
    assert "sqnr>=80 measured" in line
    assert "max_abs<=0.1 measured 0.5" in line
    assert "cosine" not in line
    assert over_budget(results[2:]) is None

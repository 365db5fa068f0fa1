"""Budgets: how much drift the user allows, e.g. `sqnr>=25`, `probs.cosine>=0.99` or `top1_drop<=0.01`.

The subject is a figure that every output has (the worst output counts, unless one is named before a dot), `top1`, or a
metric of the user's own; `_drop` after a metric means source minus artifact. The measured value decides. A value
within its limit whose 95 % interval reaches beyond passes with a warning, because so few samples cannot tell.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeport.errors import UsageError
from edgeport.findings import Finding
from edgeport.validate.intervals import Interval
from edgeport.validate.metrics import OutputMetrics
from edgeport.validate.rungs import Ladder
from edgeport.validate.task import MetricResult
from edgeport.validate.user_metric import UserMetric

_FORM = re.compile(r"^\s*(?P<subject>.+?)\s*(?P<op>>=|<=)\s*(?P<limit>[^<>=]+?)\s*$")
_SLACK = 1e-12
"""Relative room for the rounding of a difference of two floats: 0.925 - 0.915 is not over 0.01."""


@dataclass(frozen=True)
class Budget:
    """One parsed budget; `text` is it in normal form."""

    subject: str
    op: Literal[">=", "<="]
    limit: float

    @property
    def text(self) -> str:
        """As it would be written on the command line."""
        return f"{self.subject}{self.op}{self.limit:g}"

    def holds(self, value: float) -> bool:
        """Whether a value is within the limit."""
        room = _SLACK * max(1.0, abs(self.limit))
        return value >= self.limit - room if self.op == ">=" else value <= self.limit + room


@dataclass(frozen=True)
class BudgetResult:
    """What became of one budget.

    Attributes:
        budget: its text.
        metric: the figure.
        output: the output whose figure decides; None for a figure that belongs to no output.
        op: `>=` or `<=`.
        limit: the user's limit.
        value: the measured value; None where it is infinite (identical outputs) or not defined (which fails).
        interval: 95 % interval of the value, where it has one.
        passed: whether the value is within the limit.
        certain: False where it is, but the interval is not, or a single sample gives none.
    """

    budget: str
    metric: str
    output: str | None
    op: Literal[">=", "<="]
    limit: float
    value: float | None
    interval: Interval | None
    passed: bool
    certain: bool


@dataclass(frozen=True)
class _Figure:
    """A figure every output may have; `value` gives None where an output has none of the kind."""

    op: Literal[">=", "<="]
    share: bool
    value: Callable[[OutputMetrics], float | None]


def _sqnr(m: OutputMetrics) -> float | None:
    if m.exact_match is not None:
        return None
    return math.inf if m.identical else _or(m.sqnr_db, -math.inf)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


_FIGURES: dict[str, _Figure] = {
    "sqnr": _Figure(">=", False, _sqnr),
    "cosine": _Figure(">=", True, lambda m: None if m.exact_match is not None else _or(m.cosine_mean, -math.inf)),
    "cosine_min": _Figure(">=", True, lambda m: None if m.exact_match is not None else _or(m.cosine_min, -math.inf)),
    "max_abs": _Figure("<=", False, lambda m: _or(m.max_abs, math.inf)),
    "top1_agreement": _Figure(">=", True, lambda m: m.top1_agreement),
    "exact_match": _Figure(">=", True, lambda m: m.exact_match),
}


def parse_budget(text: str) -> Budget:
    """Reads `FIGURE>=VALUE`, `OUTPUT.FIGURE>=VALUE` or the same with `<=`.

    Raises:
        UsageError: another form, a limit that is no finite number, or one that could never fail or never hold.
    """
    match = _FORM.match(text)
    if match is None:
        raise UsageError(f"--budget {text!r} is not FIGURE>=VALUE or FIGURE<=VALUE, e.g. sqnr>=25 or top1_drop<=0.01")
    try:
        limit = float(match["limit"])
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        hint = "; write a share, 1 % is 0.01" if match["limit"].endswith("%") else ""
        raise UsageError(f"--budget {text!r}: {match['limit']!r} is not a number{hint}")
    subject = match["subject"]
    op: Literal[">=", "<="] = ">=" if match["op"] == ">=" else "<="
    figure = _FIGURES.get(subject.rpartition(".")[2])
    right: Literal[">=", "<="] | None = figure.op if figure else ">=" if subject == "top1" else None
    if subject.endswith("_drop"):
        right = "<="
    if right is not None and op != right:
        raise UsageError(f"--budget {text!r} would allow any loss; write {subject}{right}{match['limit']}")
    if (subject == "top1" or (figure is not None and figure.share)) and limit > 1:
        raise UsageError(f"--budget {text!r}: {subject} is at most 1, so this always fails; 99 % is 0.99")
    if subject == "top1_drop" and limit >= 1:
        raise UsageError(f"--budget {text!r} can never fail: top1_drop is a share, 1 percentage point is 0.01")
    return Budget(subject, op, limit)


def check_names(budgets: Iterable[Budget], *, metric: UserMetric | None = None, labelled: bool = False) -> None:
    """Refuses, before any work is done, budgets on figures that this run will not have.

    Args:
        budgets: all of them.
        metric: the user's metric; what a task metric returns is known only when it has run.
        labelled: whether the held-out data have labels.

    Raises:
        UsageError: a figure is unknown, or needs labels or a metric that were not given.
    """
    if metric is not None and metric.form == "task":
        return
    known = {*_FIGURES} | ({"top1", "top1_drop"} if labelled else set())
    if metric is not None:
        known |= {metric.name, f"{metric.name}_drop"}
    for budget in budgets:
        if budget.subject not in known and budget.subject.rpartition(".")[2] not in _FIGURES:
            raise _unknown(budget, known)


def judge(budgets: Iterable[Budget], ladder: Ladder) -> tuple[tuple[BudgetResult, ...], tuple[Finding, ...]]:
    """Compares the total rung and the metrics of a ladder with the budgets.

    Returns:
        One result a budget, and a finding for each that fails (`over-budget`) or holds by too few samples
        (`budget-not-certain`).

    Raises:
        UsageError: a budget names a figure or an output that the ladder does not have.
    """
    results = tuple(_judge_one(budget, ladder) for budget in budgets)
    return results, tuple(f for r in results if (f := _finding(r)) is not None)


def over_budget(results: Sequence[BudgetResult]) -> str | None:
    """One line that names every budget that fails, None if all hold."""
    failed = [r for r in results if not r.passed]
    return "over budget: " + "; ".join(_measured(r) for r in failed) if failed else None


def _judge_one(budget: Budget, ladder: Ladder) -> BudgetResult:
    name, output = budget.subject, None
    metrics = {m.name: m for m in ladder.metrics}
    total = ladder.rung("total").outputs
    known = {*_FIGURES, *metrics, *(f"{m}_drop" for m in metrics)}
    if name not in known:
        names = {o.output for o in total}
        output, _, name = name.rpartition(".")
        if name not in _FIGURES:
            raise _unknown(budget, known)
        if output not in names:
            raise UsageError(f"--budget {budget.text!r}: no output {output!r};{_near(output, names)}")
    if name in metrics or name not in _FIGURES:
        return _judge_metric(budget, metrics[name.removesuffix("_drop") if name not in metrics else name], name)
    values = [(v, o) for o in total if output in (None, o.output) and (v := _FIGURES[name].value(o)) is not None]
    if not values:
        having = [
            n for n, f in _FIGURES.items() for o in total if output in (None, o.output) and f.value(o) is not None
        ]
        whose = f"output {output!r} has" if output else "the outputs have"
        raise UsageError(f"--budget {budget.text!r}: {whose} no {name}, only {', '.join(dict.fromkeys(having))}")
    value, worst = min(values, key=lambda pair: pair[0] if budget.op == ">=" else -pair[0])
    interval = worst.top1_interval if name == "top1_agreement" else None
    return _result(budget, name, worst.output, value, interval, sampled=name == "top1_agreement")


def _judge_metric(budget: Budget, metric: MetricResult, name: str) -> BudgetResult:
    drop = name != metric.name
    value = metric.drop if drop else metric.values["artifact"]
    interval = metric.drop_interval if drop else metric.interval
    return _result(budget, name, metric.output, value, interval, sampled=metric.samples is not None)


def _result(
    budget: Budget, name: str, output: str | None, value: float, interval: Interval | None, *, sampled: bool
) -> BudgetResult:
    passed = budget.holds(value)
    bound = value if interval is None else interval.low if budget.op == ">=" else interval.high
    certain = budget.holds(bound) and not (sampled and interval is None)
    number = value if math.isfinite(value) else None
    return BudgetResult(
        budget.text, name, output, budget.op, budget.limit, number, interval, passed, certain or not passed
    )


def _finding(result: BudgetResult) -> Finding | None:
    if not result.passed:
        return Finding(
            "error",
            "over-budget",
            f"budget exceeded: {_measured(result)}",
            hint="the drift ladder names the step that causes it",
        )
    if result.certain:
        return None
    if result.interval is None:
        reason = "a single sample has no interval"
    else:
        low, high, n = result.interval.low, result.interval.high, result.interval.samples
        reason = f"the 95 % interval over {n} samples is {low:.4g} to {high:.4g}"
    return Finding(
        "warning",
        "budget-not-certain",
        f"{_measured(result)} holds, but {reason}",
        hint="measure on more held-out samples",
    )


def _measured(result: BudgetResult) -> str:
    value = "not defined" if result.value is None else f"{result.value:.6g}"
    where = f" (output {result.output!r})" if result.output else ""
    return f"{result.budget} measured {value}{where}"


def _unknown(budget: Budget, known: set[str]) -> UsageError:
    if budget.subject in ("top1", "top1_drop"):
        return UsageError(
            f"--budget {budget.text!r} needs labels for the held-out data, or a --metric that returns 'top1'; "
            "top1_agreement needs neither"
        )
    if budget.subject.endswith("_drop") and budget.subject.removesuffix("_drop") in _FIGURES:
        return UsageError(
            f"--budget {budget.text!r}: {budget.subject.removesuffix('_drop')} already measures the drift"
        )
    return UsageError(f"--budget {budget.text!r}: no figure {budget.subject!r};{_near(budget.subject, known)}")


def _near(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return (f" did you mean {near[0]!r}?" if near else "") + f" there are {', '.join(sorted(known))}"

"""Whether one file's metric differs from another's by more than the choice of samples explains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from accuracy import Case
from ranged import Run
from scores import Points, scored

from edgeport.validate.intervals import newcombe_paired

FLOAT = "float"
_RESAMPLES, _SEED, _CHUNK = 4000, 0, 250


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs with its 95 % interval, and what that says of ours."""

    value: float
    low: float
    high: float
    higher_is_better: bool

    @property
    def verdict(self) -> str:
        """ahead, behind, or that nothing can be told."""
        if self.low <= 0 <= self.high:
            return "equal within the interval"
        return "ahead" if (self.low > 0) == self.higher_is_better else "behind"


@dataclass(frozen=True)
class Metrics:
    """A case's metric: its name, what it was taken on, in float and of every tool's file, and what ours is beside each
    other tool's where that can be told."""

    name: str
    samples: str
    float_value: float
    values: Mapping[str, float]
    beside: Mapping[str, Difference]


def metrics(name: str, case: Case, runs: Mapping[str, Run], ours: str) -> Metrics:
    """On every sample that the case has; as the case itself takes it where what a sample adds is not known.

    Args:
        name: the case's.
        case: the case.
        runs: what runs every tool's file, and FLOAT.
        ours: which tool the others are beside.
    """
    how = scored(name)
    if how is None:
        taken = {tool: next(iter(case.metric(run).items())) for tool, run in runs.items()}
        values = {tool: value for tool, (_, value) in taken.items()}
        return Metrics(taken[FLOAT][0], "the case's own", values[FLOAT], values, {})
    points = how.points(runs)
    values = {tool: metric(p) for tool, p in points.items()}
    beside = {
        tool: difference(points[ours], p, how.higher_is_better)
        for tool, p in points.items()
        if tool not in (ours, FLOAT) and ours in points
    }
    return Metrics(how.metric, f"{len(points[FLOAT])} {how.unit}", values[FLOAT], values, beside)


def words(found: Difference | None) -> tuple[str, str]:
    """A difference with its interval, and the verdict."""
    if found is None:
        return "-", "-"
    return f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]", found.verdict


def metric(points: Points) -> float:
    """Points of all samples over what could be had."""
    return float(points[:, 0].sum() / points[:, 1].sum())


def difference(ours: Points, theirs: Points, higher_is_better: bool) -> Difference:
    """Compares two files that ran the same samples, in the same order.

    Where a sample is right or wrong the interval is Newcombe's for paired shares; elsewhere (several tokens to a
    sentence, phonemes to a word) it is a percentile bootstrap over samples, whose parts are not independent.
    """
    value = metric(ours) - metric(theirs)
    single = all((p[:, 1] == 1).all() and np.isin(p[:, 0], (0, 1)).all() for p in (ours, theirs))
    low, high = _newcombe(ours[:, 0] > 0, theirs[:, 0] > 0) if single else _bootstrap(ours, theirs)
    return Difference(value, low, high, higher_is_better)


def _newcombe(ours: npt.NDArray[np.bool_], theirs: npt.NDArray[np.bool_]) -> tuple[float, float]:
    counts = (ours & theirs, ours & ~theirs, ~ours & theirs, ~ours & ~theirs)
    return newcombe_paired(*(float(count.sum()) for count in counts))


def _bootstrap(ours: Points, theirs: Points) -> tuple[float, float]:
    """Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13."""
    draw, count = np.random.default_rng(_SEED), len(ours)
    both, found = np.concatenate([ours, theirs], axis=1), []
    for _ in range(_RESAMPLES // _CHUNK):
        times = draw.multinomial(count, np.full(count, 1 / count), _CHUNK)
        a, b, c, d = (times @ both).T
        found.append(a / b - c / d)
    low, high = np.quantile(np.concatenate(found), (0.025, 0.975))
    return float(low), float(high)

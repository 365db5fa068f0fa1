"""ONNX's own node tests: right or refused, never wrong, never a crash; and the guide says so of this version.

Of targets that take minutes only some cases run: those that do not pass as the guide says, and every fifth of the
others, which the guide is taken at its word for. With the environment variable EDGEPORT_FULL_CONFORMANCE all run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping

import pytest

from .cases import Case, load_cases
from .outcomes import Outcome
from .run import run_cases
from .table import PAGE, TARGETS, listed, page

LEAST_PASSING = {
    "tflite": 1173,
    "coreml": 1151,
    "coreai": 1175,
    "tensorrt": 1168,
    "executorch": 1143,
    "onnxruntime": 1175,
    "qnnpack": 1175,
    "torch-view": 1175,
}
"""Cases that passed when this was written; fewer means that something was lost."""
_SLOW = ("executorch",)
_EVERY = 5


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return load_cases()


@pytest.fixture(scope="module")
def results(cases: list[Case]) -> Mapping[str, Mapping[str, Outcome]]:
    slow = () if os.environ.get("EDGEPORT_FULL_CONFORMANCE") else _SLOW
    return {target: _some(cases, target) if target in slow else run_cases(cases, target) for target in TARGETS}


def _some(cases: list[Case], target: str) -> Mapping[str, Outcome]:
    """How the cases that run end, and the others by the guide."""
    said = listed(target)
    run = [case for index, case in enumerate(cases) if index % _EVERY == 0 or case.name in said]
    return dict.fromkeys((case.name for case in cases), Outcome("pass")) | run_cases(run, target)


def test_selection_is_whole(cases: list[Case]) -> None:
    assert len(cases) == 1180
    assert sum(case.expanded for case in cases) == 302
    assert len({case.op for case in cases}) == 160


@pytest.mark.parametrize("target", TARGETS)
def test_cases_pass_or_are_refused(target: str, results: Mapping[str, Mapping[str, Outcome]]) -> None:
    outcomes = results[target]
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.verdict in ("wrong", "crash")}
    assert bad == {}
    assert Counter(outcome.verdict for outcome in outcomes.values())["pass"] >= LEAST_PASSING[target]


def test_guide_is_current(cases: list[Case], results: Mapping[str, Mapping[str, Outcome]]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(cases, results), "run `python -m tests.conformance`"

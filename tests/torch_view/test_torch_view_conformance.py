"""ONNX's own node tests through the torch view: right or refused, never wrong, never a crash."""

from __future__ import annotations

from collections import Counter

from tests.conformance.cases import load_cases
from tests.conformance.run import run_cases
from tests.conformance.view import NAME

LEAST_PASSING = 1175
"""Cases that passed when this was written; the others are of an operator that is newer than the canonical opset."""


def test_cases_pass_or_are_refused() -> None:
    outcomes = run_cases(load_cases(), NAME)
    bad = {name: outcome for name, outcome in outcomes.items() if outcome.verdict in ("wrong", "crash")}
    assert bad == {}
    assert Counter(outcome.verdict for outcome in outcomes.values())["pass"] >= LEAST_PASSING

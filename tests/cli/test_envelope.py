"""The JSON envelope is strict JSON whatever numbers a result holds."""

from __future__ import annotations

import json

import pytest

from edgeport.cli.envelope import envelope
from edgeport.cli.failure import Failure
from edgeport.findings import Finding


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def test_non_finite_numbers_become_null() -> None:
    text = envelope("export", result={"sqnr": float("inf"), "deep": [{"x": float("nan")}, (-float("inf"), 1.5)]})
    body = json.loads(text, parse_constant=refuse)
    assert body["result"] == {"sqnr": None, "deep": [{"x": None}, [None, 1.5]]}


@pytest.mark.parametrize("failed", [False, True])
def test_ok_is_the_absence_of_an_error(failed: bool) -> None:
    error = Failure("ModelError", "broken", 3).body() if failed else None
    body = json.loads(envelope("inspect", error=error))
    assert body["ok"] is not failed
    assert body["error"] == ({"type": "ModelError", "message": "broken", "exit_code": 3} if failed else None)


def test_findings_carry_all_their_fields() -> None:
    finding = Finding("error", "unsupported-op", "no kernel", node="n1", op="Foo", hint="remove it")
    (written,) = json.loads(envelope("export", findings=[finding]))["findings"]
    assert Finding(**written) == finding

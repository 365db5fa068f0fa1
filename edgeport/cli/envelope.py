"""The JSON envelope: one object on stdout for every outcome of every command, whose shape pipelines rely on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from edgeport.findings import Finding

SCHEMA_VERSION = 1


def envelope(
    command: str | None,
    *,
    result: dict[str, Any] | None = None,
    findings: Sequence[Finding] = (),
    error: dict[str, Any] | None = None,
) -> str:
    """The envelope as text. `command` is None where the command itself could not be read from the arguments."""
    body = {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "ok": error is None,
        "result": result,
        "findings": [dataclasses.asdict(finding) for finding in findings],
        "error": error,
    }
    return json.dumps(_strict(body), indent=2, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    """JSON has no infinity (the SQNR of an exact match) and no NaN: they become null, as in report.json."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value

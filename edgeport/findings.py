"""A finding: one thing about the model, the data or the artifact that the user should know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One observation with its place and its way out.

    Attributes:
        severity: `error` stops the export, `warning` and `info` only appear in the report.
        code: stable kebab-case identifier, e.g. `unsupported-op`; pipelines may match on it.
        message: one sentence that says what is the matter.
        node: name of the node in the canonical graph, if the finding is about one.
        op: its operator type.
        hint: what to do next.
    """

    severity: Severity
    code: str
    message: str
    node: str | None = None
    op: str | None = None
    hint: str | None = None

"""A finding: one thing about the model, the data or the artifact that the user should know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
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


def gathered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each code and severity, in order: the first, with the number of all; errors come first."""
    by_code: dict[tuple[str, Severity], list[Finding]] = {}
    for finding in findings:
        by_code.setdefault((finding.code, finding.severity), []).append(finding)
    told = [
        same[0] if len(same) == 1 else replace(same[0], message=f"{same[0].message} (the first of {len(same)} places)")
        for same in by_code.values()
    ]
    order = ("error", "warning", "info")
    return tuple(sorted(told, key=lambda finding: order.index(finding.severity)))

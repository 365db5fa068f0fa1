"""What the functions of `edgeport.api` return: data with a JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeport.findings import Finding


@dataclass(frozen=True)
class ExportResult:
    """One export.

    Attributes:
        out: the output folder; None after a dry run, and where nothing was published.
        artifacts: target -> its main file or folder.
        report: what stands in report.json.
        findings: about the model, the data and every target.
        failures: target -> why it was not published.
    """

    out: Path | None
    artifacts: Mapping[str, Path]
    report: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "out": None if self.out is None else str(self.out),
            "artifacts": {name: str(path) for name, path in self.artifacts.items()},
            "failures": dict(self.failures),
            "report": dict(self.report),
        }


@dataclass(frozen=True)
class Result:
    """A result that is a table of facts."""

    facts: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(self.facts)

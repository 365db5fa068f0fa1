"""An outcome other than success: what is said about it, and the exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from edgeport.cli.streams import one_line
from edgeport.findings import Finding

_SHOWN_FINDINGS = 20


@dataclass(frozen=True)
class Failure:
    """Why a command did not succeed.

    Attributes:
        kind: name of the error's type, as in the envelope.
        message: one line.
        exit_code: see docs/exit-codes.md.
        findings: every separate problem, and remarks made on the way to it.
        result: what was achieved before or beside it, None if nothing was.
    """

    kind: str
    message: str
    exit_code: int
    findings: tuple[Finding, ...] = ()
    result: Any = None

    def body(self) -> dict[str, Any]:
        """The `error` of an envelope."""
        return {"type": self.kind, "message": self.message, "exit_code": self.exit_code}

    def tell(self, *, findings: bool) -> None:
        """Says on stderr what is wrong: one line, and, with `findings`, one more for each separate problem."""
        problems = [finding for finding in self.findings if findings and finding.severity == "error"]
        print(f"edgeport: {self.message}", file=sys.stderr)
        for problem in problems[:_SHOWN_FINDINGS]:
            place = " ".join(part for part in (problem.node, problem.op and f"({problem.op})") if part)
            text = "; ".join(part for part in (problem.message, problem.hint) if part)
            line = one_line(f"{problem.code}: {place + ': ' if place else ''}{text}")
            print(f"  {line}", file=sys.stderr)
        if len(problems) > _SHOWN_FINDINGS:
            print(f"  and {len(problems) - _SHOWN_FINDINGS} more; --json lists every one", file=sys.stderr)

"""Everything that is the user's, the model's or the toolchain's doing, each with its frozen exit code.

A message is one line: what is wrong, where, and what to do. Anything else that escapes is a bug (exit code 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeport.findings import Finding


class EdgeportError(Exception):
    """Root of all expected errors.

    Attributes:
        exit_code: frozen, see docs/exit-codes.md.
        findings: every separate problem, when there are several.
        result: what the failed call found out all the same (the drift of an export that is over its budget).
    """

    exit_code = 1

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(" ".join(message.splitlines()))  # names inside a hostile model may hold line breaks
        self.findings = tuple(findings)
        self.result: Any = None


class UsageError(EdgeportError):
    """A flag, key, or combination of them that does not make sense."""

    exit_code = 2


class ModelError(EdgeportError):
    """The model cannot be read, captured or converted; `findings` names every node in the way."""

    exit_code = 3


class BudgetError(EdgeportError):
    """An artifact drifted further than the user allows."""

    exit_code = 4


class ToolchainError(EdgeportError):
    """A requested target's toolchain is not installed; the message holds the pip line that fixes it."""

    exit_code = 5


class CalibrationError(EdgeportError):
    """Calibration or held-out data that cannot be used."""

    exit_code = 6

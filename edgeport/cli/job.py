"""What a command hands to `main`: the API call to make, and how the user wants its outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgeport.findings import Finding

if TYPE_CHECKING:
    from edgeport.cli.progress import TerminalProgress


class Result(Protocol):
    """What every function of `edgeport.api` returns."""

    @property
    def findings(self) -> Sequence[Finding]:
        """What the user should know about it."""

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready data."""


@dataclass(frozen=True)
class Job:
    """One parsed command.

    Attributes:
        command: its name.
        call: runs it; the argument shows progress, None where nobody looks.
        as_json: `--json` was given.
        quiet: `--quiet` was given.
    """

    command: str
    call: Callable[[TerminalProgress | None], Result]
    as_json: bool
    quiet: bool

"""How long work reports where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """A stage begins when it is named and ends when the next one is."""

    def stage(self, name: str, total: int | None) -> None:
        """Begins a stage of `total` steps, None where the number is not known."""

    def advance(self, n: int = 1) -> None:
        """Counts `n` steps of the running stage."""


class Silent:
    """Nobody looks."""

    def stage(self, name: str, total: int | None) -> None:
        """Does nothing."""

    def advance(self, n: int = 1) -> None:
        """Does nothing."""


def counter(progress: Progress, name: str, total: int | None) -> Callable[[int], None]:
    """Begins a stage and returns a callback that takes the number of steps done so far."""
    progress.stage(name, total)
    done = 0

    def count(now: int) -> None:
        nonlocal done
        progress.advance(now - done)
        done = now

    return count

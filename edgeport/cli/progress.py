"""Progress of long work: a bar a stage, on stderr, only where somebody looks at a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class TerminalProgress:
    """Follows `edgeport.api.Progress`: a stage begins when it is named and ends when the next one is.

    Nothing appears before the first stage: quick commands have none.
    """

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def stage(self, name: str, total: int | None) -> None:
        """Begins a stage of `total` steps, None where the number is not known."""
        self._end()
        self._bars.start()
        self._task = self._bars.add_task(name, total=total)

    def advance(self, n: int = 1) -> None:
        """Counts `n` steps of the running stage."""
        if self._task is not None:
            self._bars.advance(self._task, n)

    def _end(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


@contextlib.contextmanager
def terminal_progress(quiet: bool) -> Iterator[TerminalProgress | None]:
    """Progress bars on stderr, or None with `--quiet` or where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    try:
        yield TerminalProgress(bars)
    finally:
        bars.stop()

"""Progress appears on a terminal's stderr, not elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn

from edgeport.cli.progress import TerminalProgress, terminal_progress


def test_nobody_looks_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress(quiet=False) as progress:
        assert progress is None
    with terminal_progress(quiet=True) as progress:
        assert progress is None
    assert capsys.readouterr() == ("", "")


def test_stages_follow_each_other() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, color_system=None)
    bars = Progress(TextColumn("{task.description}"), MofNCompleteColumn(), console=console, auto_refresh=False)
    progress = TerminalProgress(bars)
    assert not bars.live.is_started
    progress.stage("calibrate", 3)
    progress.advance()
    progress.advance(2)
    bars.refresh()
    assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("calibrate", 3, 3)]
    progress.stage("report", None)
    assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("report", 0, None)]
    bars.stop()
    assert "calibrate 3/3" in written.getvalue()

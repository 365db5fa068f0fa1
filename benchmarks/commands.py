"""Commands of other programs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def failure(command: Sequence[Path | str], minutes: float) -> str:
    """Runs a command; returns "" or the last line of what it said when it failed or took longer."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=minutes * 60)
    except subprocess.TimeoutExpired:
        return f"not finished after {minutes} minutes"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "" if done.returncode == 0 else (lines or [f"exit code {done.returncode}"])[-1].strip()

"""Standard streams: results on stdout and nothing else, whatever the libraries underneath print."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED = 10_000


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Sends what is written to stdout meanwhile to stderr: exporters, the user's own Python files and C++ runtimes print."""
    sys.stdout.flush()
    descriptor = _descriptor(sys.stdout)
    if descriptor is None or _descriptor(sys.stderr) is None:
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    kept = os.dup(descriptor)
    try:
        os.dup2(sys.stderr.fileno(), descriptor)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def console() -> Console:
    """A console on stdout: coloured on a terminal, plain and as wide as its content in a pipe or file."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_UNBOUNDED, color_system=None)


def one_line(text: str) -> str:
    """The text without line breaks: errors take one line, so that they can be grepped."""
    return " ".join(text.split())


def silence_broken_stdout() -> None:
    """After the reader of stdout has gone (`| head`): lets the interpreter's last flush go nowhere."""
    descriptor = _descriptor(sys.stdout)
    if descriptor is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _descriptor(stream: TextIO) -> int | None:
    """The stream's file descriptor, None where it has none (captured in a test or notebook)."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None

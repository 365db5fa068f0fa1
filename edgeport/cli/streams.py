"""Standard streams: results on stdout and nothing else, whatever the libraries underneath print."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_UNBOUNDED = 10_000


@contextlib.contextmanager
def results_only() -> Iterator[None]:
    """Sends what is written to stdout meanwhile to stderr: exporters, user code and C++ runtimes print."""
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


def console(page: TextIO) -> Console:
    """Writes to `page` what suits stdout: coloured for a terminal, else plain and as wide as its content."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(file=page, highlight=False, force_terminal=True)
    return Console(file=page, highlight=False, width=_UNBOUNDED, color_system=None)


def one_line(text: str) -> str:
    """The text without line breaks: errors take one line, so that they can be grepped.

    What is not printable, such as a terminal's escape codes in a hostile name, is written as `\\x1b`.
    """
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def write_result(text: str) -> bool:
    """Writes to stdout at once. A reader that has left (`| head`) is no error; a full disk is, and returns False."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as error:
        silence_stdout()
        print(f"edgeport: the result cannot be written to stdout: {error.strerror}", file=sys.stderr)
        return False
    return True


def tidy(page: str) -> str:
    """The page without blanks at the ends of lines and without more than one empty line in a row."""
    lines = "\n".join(line.rstrip() for line in page.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip("\n")


def silence_stdout() -> None:
    """After stdout has failed: lets the interpreter's last flush go nowhere, so that the exit code stands."""
    descriptor = _descriptor(sys.stdout)
    if descriptor is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _descriptor(stream: TextIO) -> int | None:
    """The stream's file descriptor, None where it has none (captured in a test or notebook)."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None

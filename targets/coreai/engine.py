"""Core AI's toolchain, in a process of its own that is started when first needed and anew after it died."""

from __future__ import annotations

import atexit
import contextlib
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.sample import Array
from edgeport.targets.coreai.program import Program


class EngineError(Exception):
    """The toolchain declines what it is asked, or died of it; the message is the reason, in one line."""


@dataclass(frozen=True)
class Inspected:
    """What the runtime says of a file: name -> shape and dtype of inputs and outputs."""

    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    outputs: Mapping[str, tuple[tuple[int, ...], str]]


def write(program: Program, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Saves a program as the folder `path`, with JSON-ready notes in its metadata.

    Raises:
        EngineError: the toolchain declines it.
    """
    _ask("write", program, str(path.absolute()), dict(notes or {}))


def inspect(path: Path) -> Inspected:
    """Compiles a saved program for this machine and says what it holds.

    Raises:
        EngineError: the runtime does not load it.
    """
    return Inspected(*_ask("inspect", str(path.absolute())))


def run(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every output of a saved program by name; shapes and dtypes must be those of its inputs.

    Raises:
        EngineError: the runtime does not load or run it.
    """
    results: dict[str, Array] = _ask("run", str(path.absolute()), dict(feeds))
    return results


def watch(path: Path, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Inner tensors of a saved program by canonical name; those that it does not have any more are left out.

    Raises:
        EngineError: the runtime does not load or run it.
    """
    results: dict[str, Array] = _ask("watch", str(path.absolute()), tuple(names), dict(feeds))
    return results


_LOCK = threading.Lock()
_PROCESS: list[subprocess.Popen[bytes]] = []
_PATIENCE = 10.0
"""Seconds that a process has to end by itself."""


def _ask(*request: Any) -> Any:
    """One request; requests of several threads come one after the other."""
    with _LOCK:
        process = _process()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            kind, answer = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise EngineError(f"its process ended with {_end(process)}") from error
    if kind == "declined":
        raise EngineError(answer)
    return answer


def _process() -> subprocess.Popen[bytes]:
    """The process that answers, a new one where there is none or the last has died."""
    if _PROCESS and _PROCESS[0].poll() is not None:
        _end(_PROCESS[0])
    if not _PROCESS:
        command = [sys.executable, "-P", "-m", "edgeport.targets.coreai.worker"]
        _PROCESS.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
    return _PROCESS[0]


def _end(process: subprocess.Popen[bytes]) -> str:
    """Puts a process that answers no more away; how it ended."""
    _PROCESS.clear()
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what is left in the pipe cannot be written any more
            if pipe is not None:
                pipe.close()
    try:
        code = process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@atexit.register
def stop() -> None:
    """Ends the process; the next request starts another."""
    with _LOCK:
        if _PROCESS:
            _end(_PROCESS[0])

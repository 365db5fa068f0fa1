"""Core AI's toolchain, in a process of its own that is started when first needed and anew after it died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport.sample import Array
from edgeport.targets.coreai.program import Program
from edgeport.targets.worker_process import WorkerProcess

WORKER = WorkerProcess("edgeport.targets.coreai.worker")


@dataclass(frozen=True)
class Inspected:
    """What the runtime says of a file: name -> shape and dtype of inputs and outputs."""

    inputs: Mapping[str, tuple[tuple[int, ...], str]]
    outputs: Mapping[str, tuple[tuple[int, ...], str]]


def write(program: Program, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Saves a program as the folder `path`, with JSON-ready notes in its metadata.

    Raises:
        WorkerError: the toolchain declines it.
    """
    WORKER.ask("write", program, str(path.absolute()), dict(notes or {}))


def inspect(path: Path) -> Inspected:
    """Compiles a saved program for this machine and says what it holds.

    Raises:
        WorkerError: the runtime does not load it.
    """
    return Inspected(*WORKER.ask("inspect", str(path.absolute())))


def run(path: Path, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Every output of a saved program by name; shapes and dtypes must be those of its inputs.

    Raises:
        WorkerError: the runtime does not load or run it.
    """
    results: dict[str, Array] = WORKER.ask("run", str(path.absolute()), dict(feeds))
    return results


def watch(path: Path, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Inner tensors of a saved program by canonical name; those that it does not have any more are left out.

    Raises:
        WorkerError: the runtime does not load or run it.
    """
    results: dict[str, Array] = WORKER.ask("watch", str(path.absolute()), tuple(names), dict(feeds))
    return results

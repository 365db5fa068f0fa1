"""ExecuTorch's runtime, in a process of its own that is started when first needed and anew after it died."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeport.sample import Array
from edgeport.targets.worker_process import WorkerProcess

WORKER = WorkerProcess("edgeport.targets.executorch.worker")

Ends = tuple[tuple[tuple[int, ...], str], ...]


@dataclass(frozen=True)
class Inspected:
    """What the runtime says of a file: shape and dtype of its inputs and outputs, in order."""

    inputs: Ends
    outputs: Ends


def operators() -> frozenset[str]:
    """The operators that the runtime has kernels for, e.g. `aten::add.out`.

    Raises:
        WorkerError: it cannot be loaded.
    """
    found: frozenset[str] = WORKER.ask("operators")
    return found


def inspect(path: Path) -> Inspected:
    """Loads a program and says what it holds.

    Raises:
        WorkerError: the runtime does not load it.
    """
    return Inspected(*WORKER.ask("inspect", str(path.absolute())))


def run(path: Path, feeds: Sequence[Array]) -> list[Array]:
    """Every output of a program in order; shapes and dtypes must be those of its inputs.

    Raises:
        WorkerError: the runtime does not load or run it.
    """
    results: list[Array] = WORKER.ask("run", str(path.absolute()), list(feeds))
    return results

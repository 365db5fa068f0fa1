"""torch's engine of quantized operators, and its deprecation warnings."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from edgeport.errors import ToolchainError

ENGINE = "qnnpack"


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Sets the engine, which torch asks for when weights are packed, when a file is loaded, and at every run.

    And one thread, as every run here has: sums are then in the same order on all machines, and threads that wait for
    each other at every operator cost more than they save in models for phones. TorchScript is not specialized to its
    first inputs: the lite interpreter does not do that either, and it takes longer than the few runs here would gain.

    torch says at each step that TorchScript and quantized dtypes will be removed, which the target's documentation
    says once; a user of edgeport cannot do anything about it, so those warnings are not shown.

    Raises:
        ToolchainError: this torch has no such engine.
    """
    import torch

    require_engine()
    optimized: Any = torch.jit.optimized_execution  # type: ignore[attr-defined]
    before, threads = torch.backends.quantized.engine, torch.get_num_threads()
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        torch.backends.quantized.engine = ENGINE
        torch.set_num_threads(1)
        try:
            with optimized(False):
                yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.quantized.engine = before


def require_engine() -> None:
    """Refuses a torch that was built without QNNPACK.

    Raises:
        ToolchainError: it was.
    """
    import torch

    if ENGINE not in torch.backends.quantized.supported_engines:
        raise ToolchainError(
            f"target qnnpack: torch {torch.__version__} was built without the engine {ENGINE}; install one that has "
            "it: pip install 'edgeport[qnnpack]'"
        )

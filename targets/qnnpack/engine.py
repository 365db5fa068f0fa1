"""torch's engine of quantized operators, and its deprecation warnings."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from edgeport.errors import ToolchainError

ENGINE = "qnnpack"


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """Sets the engine, which torch asks for when weights are packed, when a file is loaded, and at every run.

    torch says at each step that TorchScript and quantized dtypes will be removed, which the target's documentation
    says once; a user of edgeport cannot do anything about it, so those warnings are not shown.

    Raises:
        ToolchainError: this torch has no such engine.
    """
    import torch

    require_engine()
    before = torch.backends.quantized.engine
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", kind)
        torch.backends.quantized.engine = ENGINE
        try:
            yield
        finally:
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

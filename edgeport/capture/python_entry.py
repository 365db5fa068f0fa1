"""`file.py:callable`: the user's function that builds a model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeport.entry import load_callable, user_code
from edgeport.errors import ModelError, ToolchainError, UsageError


@contextlib.contextmanager
def built_by(entry: str) -> Iterator[Any]:
    """Calls `file.py:callable` without arguments and gives what it returns.

    What the file prints goes to stderr. The modules of its folder that it imported stay importable inside the
    `with` block, and are forgotten at its end, so that the next entry does not meet its namesakes.

    Raises:
        UsageError: no such file or callable.
        ModelError: the user's code raises; the message names its line.
        ToolchainError: the user's code needs torch, which is not installed.
    """
    folder = Path(entry.rpartition(":")[0]).resolve().parent
    before = set(sys.modules)
    try:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                function = load_callable(entry)
                code = getattr(function, "__code__", None)
                with user_code(entry, Path(code.co_filename) if code is not None else None):
                    result = function()
        except UsageError as error:
            cause = error.__cause__
            if cause is None:
                raise
            if isinstance(cause, ModuleNotFoundError) and cause.name == "torch":
                message = f'{entry} needs torch, which is not installed; pip install "edgeport[torch]"'
                raise ToolchainError(message) from error
            raise ModelError(str(error)) from error
        yield result
    finally:
        for name in sorted(set(sys.modules) - before):
            if _belongs_to(sys.modules[name], folder):
                del sys.modules[name]


def _belongs_to(module: Any, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    if not file:
        return False
    path = Path(file).resolve()
    return path.is_relative_to(folder) and "site-packages" not in path.relative_to(folder).parts

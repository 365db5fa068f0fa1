"""Opens a LiteRT interpreter, without the line that its delegate greets with on stderr."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate"


def interpreter(model: Path | bytes, preserve_all: bool = False, **options: Any) -> Any:
    """An interpreter on one thread with XNNPACK, its tensors allocated.

    Args:
        model: a file or its bytes.
        preserve_all: keep every intermediate tensor readable after a run.
        options: further arguments of LiteRT's Interpreter.

    Raises:
        RuntimeError, ValueError: LiteRT does not take the model.
    """
    with _greeting_removed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises against keeping tensors, which is what is asked for
        from ai_edge_litert.interpreter import Interpreter

        if isinstance(model, Path) and not _is_utf8(model):
            model = model.read_bytes()
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
        made = Interpreter(**source, num_threads=1, experimental_preserve_all_tensors=preserve_all, **options)
        made.allocate_tensors()
    return made


def _is_utf8(path: Path) -> bool:
    """LiteRT opens no other names, which Linux allows."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def _greeting_removed() -> Iterator[None]:
    """Holds the process's stderr back and passes it on without the greeting, which no setting turns off."""
    try:
        original = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            held.seek(0)
            for line in held:
                if not line.startswith(_GREETING):
                    os.write(original, line)
            os.close(original)

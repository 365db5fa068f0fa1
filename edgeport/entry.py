"""Loading `file.py:callable`: the user's own code, named on the command line."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgeport.errors import EdgeportError, UsageError
from edgeport.suggest import did_you_mean


def is_entry(text: str) -> bool:
    """Whether `text` has the form `file.py:callable` (the file need not exist)."""
    file, colon, name = text.rpartition(":")
    return bool(colon) and file.endswith(".py") and name.isidentifier()


def load_callable(entry: str, flag: str = "") -> Callable[..., Any]:
    """Runs a Python file and returns one callable from it.

    The file's folder comes first on `sys.path` while the file runs, as `python file.py` would have it, and last
    afterwards, so that the user's imports inside functions still work without shadowing installed modules.

    Args:
        entry: `file.py:callable`.
        flag: where it was given, e.g. `--metric`; starts every message.

    Raises:
        UsageError: the text has another form, the file does not exist or fails (with file and line), or it holds
            no such callable.
    """
    said = f"{flag} {entry}".strip()
    if not is_entry(entry):
        raise UsageError(f"{said!r} is not file.py:callable, e.g. metric.py:accuracy")
    file, _, name = entry.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"{said}: no such file {file}")
    path = path.resolve()
    module_name = "edgeport_entry_" + hashlib.sha256(str(path).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None  # a .py file always has one
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look their module up while it runs
    folder = str(path.parent)
    known = folder in sys.path
    sys.path.insert(0, folder)
    try:
        with user_code(said, path):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(module_name, None)
        raise
    finally:
        sys.path.remove(folder)
        if not known:
            sys.path.append(folder)
    found = getattr(module, name, None)
    if found is None:
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        hint = f"; {did_you_mean(name, public)}" if public else ""
        raise UsageError(f"{said}: {path.name} has no {name!r}{hint}")
    if not callable(found):
        raise UsageError(f"{said}: {name!r} is a {type(found).__name__}, not a callable")
    result: Callable[..., Any] = found
    return result


@contextmanager
def user_code(said: str, file: Path | None = None) -> Iterator[None]:
    """Turns whatever the user's code raises into one line with its file and line number.

    edgeport's own errors pass through: a metric that calls `run` with a wrong input should show that message.

    Args:
        said: what the user gave, e.g. `--metric metric.py:accuracy`.
        file: the file to look for in the traceback; the innermost line in it is named. Without it: the innermost.

    Raises:
        UsageError: the code raised; interrupts are not touched.
    """
    try:
        yield
    except EdgeportError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{said}: {_place(error, file)}: {_first_line(error)}") from error


def _place(error: BaseException, file: Path | None) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if file is not None and Path(f.filename) == file]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _first_line(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    line = text.strip().splitlines()[0] if text.strip() else ""
    return f"{type(error).__name__}: {line}" if line else type(error).__name__

"""A process that writes and runs .aimodel folders for another one, which survives when this one does not.

    python -m edgeport.targets.coreai.worker

It reads pickled requests from its standard input and answers each on what was its standard output.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

_KEPT = 4
"""Compiled models kept open; the one not used for longest is closed."""


def main() -> None:
    """Serves until the input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # the runtime writes there past Python
    os.dup2(quiet, 2)
    desk = _Desk()
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            break
        pickle.dump(desk.answer(request), answers, protocol=pickle.HIGHEST_PROTOCOL)
        answers.flush()
    desk.close()


class _Desk:
    """Answers requests; holds the compiled models."""

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}

    def answer(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        try:
            from edgeport.targets.coreai import aicore
        except Exception as error:  # a toolchain of another version may fail in any way
            return "declined", f"coreai-core cannot be loaded: {type(error).__name__}: {error}"
        try:
            match request:
                case "write", program, path:
                    self._forget(path)
                    return "done", aicore.write(program, Path(path))
                case "inspect", path:
                    model = self._model(path)
                    return "done", (model.inputs, model.outputs, aicore.operations(Path(path)))
                case "run", path, feeds:
                    return "done", self._model(path).run(feeds)
        except aicore.ProgramError as error:
            return "declined", str(error)
        return "declined", f"there is no request {request[0]!r}"

    def close(self) -> None:
        for path in list(self._opened):
            self._forget(path)

    def _model(self, path: str) -> Any:
        from edgeport.targets.coreai.aicore import Model

        made = self._opened.pop(path, None) or Model(Path(path))
        self._opened[path] = made
        while len(self._opened) > _KEPT:
            self._forget(next(iter(self._opened)))
        return made

    def _forget(self, path: str) -> None:
        if path in self._opened:
            self._opened.pop(path).close()


if __name__ == "__main__":
    main()

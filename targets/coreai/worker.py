"""A process that writes and runs .aimodel folders for another one, which survives when this one does not.

    python -P -m edgeport.targets.coreai.worker

It reads pickled requests from its standard input and answers each on what was its standard output.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edgeport.targets.worker_process import DECLINED, DONE, serve

_KEPT = 4
"""Compiled models kept open; the one not used for longest is closed."""


def main() -> None:
    """Serves until the input ends."""
    desk = _Desk()
    serve(desk.answer)
    desk.close()


class _Desk:
    """Answers requests; holds the compiled models."""

    def __init__(self) -> None:
        self._opened: dict[str, Any] = {}
        self._watching: tuple[Any, tuple[str, ...], Any, tempfile.TemporaryDirectory[str]] | None = None

    def answer(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        try:
            from edgeport.targets.coreai import aicore
        except Exception as error:  # a toolchain of another version may fail in any way
            return DECLINED, f"coreai-core cannot be loaded: {type(error).__name__}: {error}"
        try:
            match request:
                case "write", program, path, notes:
                    self._forget(path)
                    aicore.write(program, Path(path), notes)
                    return DONE, None
                case "inspect", path:
                    model = self._model(path)
                    return DONE, (model.inputs, model.outputs)
                case "watch", path, names, feeds:
                    return DONE, self._watched(path, names, feeds)
                case "run", path, feeds:
                    return DONE, self._model(path).run(feeds)
        except aicore.ProgramError as error:
            return DECLINED, str(error)
        return DECLINED, f"there is no request {request[0]!r}"

    def close(self) -> None:
        self._stop_watching()
        for path in list(self._opened):
            self._forget(path)

    def _model(self, path: str) -> Any:
        from edgeport.targets.coreai.aicore import Model

        made = self._opened.pop(path, None) or Model(Path(path))
        self._opened[path] = made
        while len(self._opened) > _KEPT:
            self._forget(next(iter(self._opened)))
        return made

    def _watched(self, path: str, names: tuple[str, ...], feeds: dict[str, Any]) -> dict[str, Any]:
        from edgeport.targets.coreai.aicore import Model, watched

        if self._watching is None or self._watching[0] != (path, names):
            self._stop_watching()
            folder = tempfile.TemporaryDirectory(prefix="edgeport-")
            copy = Path(folder.name) / "inner.aimodel"
            found = watched(Path(path), names, copy)
            self._watching = (path, names), found, Model(copy) if found else None, folder
        _, found, model, _ = self._watching
        results = model.run({k: v for k, v in feeds.items() if k in model.inputs}) if model is not None else {}
        return {name: results[str(i)] for i, name in enumerate(found)}

    def _stop_watching(self) -> None:
        if self._watching is not None:
            _, _, model, folder = self._watching
            self._watching = None
            if model is not None:
                model.close()
            folder.cleanup()

    def _forget(self, path: str) -> None:
        if self._watching is not None and self._watching[0][0] == path:
            self._stop_watching()
        if path in self._opened:
            self._opened.pop(path).close()


if __name__ == "__main__":
    main()

"""A process that runs .pte files for another one, which survives when this one does not.

    python -P -m edgeport.targets.executorch.worker

It reads pickled requests from its standard input and answers each on what was its standard output.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeport.targets.worker_process import DECLINED, DONE, serve

_KEPT = 4
"""Loaded programs kept; the one not used for longest is dropped."""


def main() -> None:
    """Serves until the input ends."""
    serve(_Desk().answer, _binding)


def _binding() -> None:
    from edgeport.targets.executorch import runtime

    runtime.binding()


class _Desk:
    """Answers requests; holds the loaded programs."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[str, int, int], Any] = {}

    def answer(self, request: tuple[Any, ...]) -> tuple[str, Any]:
        try:
            _binding()
        except Exception as error:  # a toolchain of another version may fail in any way
            return DECLINED, f"ExecuTorch's runtime cannot be loaded: {type(error).__name__}: {error}"
        from edgeport.targets.executorch import runtime

        try:
            match request:
                case ("operators",):
                    return DONE, runtime.operators()
                case "inspect", path:
                    return DONE, self._program(path).ends
                case "run", path, feeds:
                    return DONE, self._program(path).run(feeds)
        except runtime.ProgramError as error:
            return DECLINED, str(error)
        return DECLINED, f"there is no request {request[0]!r}"

    def _program(self, path: str) -> Any:
        from edgeport.targets.executorch.runtime import LoadedProgram

        seen = Path(path).stat()
        key = (path, seen.st_mtime_ns, seen.st_size)
        made = self._loaded.pop(key, None) or LoadedProgram(Path(path))
        self._loaded[key] = made
        while len(self._loaded) > _KEPT:
            del self._loaded[next(iter(self._loaded))]
        return made


if __name__ == "__main__":
    main()

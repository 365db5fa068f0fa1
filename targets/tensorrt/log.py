"""What TensorRT logs, collected instead of printed."""

from __future__ import annotations

from typing import Any

Lines = list[tuple[str, str]]
"""`WARNING` or `ERROR`, and the text, as they come."""


def listening(trt: Any) -> tuple[Lines, Any]:
    """A list that fills while TensorRT works, and the logger to give it.

    Args:
        trt: the module `tensorrt` or `tensorrt_rtx`.
    """
    lines: Lines = []
    kinds = {trt.ILogger.WARNING: "WARNING", trt.ILogger.ERROR: "ERROR", trt.ILogger.INTERNAL_ERROR: "ERROR"}

    class Collecting(trt.ILogger):  # type: ignore[misc]  # NVIDIA's interface is a class to derive from
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            if severity in kinds:
                lines.append((kinds[severity], text))

    return lines, Collecting()

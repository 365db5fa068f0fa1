"""Any source -> Captured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeport.capture.captured import Captured
from edgeport.capture.onnx_source import capture_onnx_file
from edgeport.sample import InputSpec

if TYPE_CHECKING:
    import torch


def capture(
    source: str | Path | torch.nn.Module | torch.export.ExportedProgram,
    *,
    inputs: Sequence[InputSpec] = (),
    keep_symbolic: bool = False,
) -> Captured:
    """Turns a source into a graph and keeps a way to run the source itself.

    Args:
        source: an ONNX file.
        inputs: dtype and shape of inputs, to fix symbolic dimensions.
        keep_symbolic: leave dimensions open that `inputs` does not fix.

    Raises:
        UsageError: `inputs` contradict the source.
        ModelError: the source cannot be read, run or captured.
    """
    return capture_onnx_file(Path(str(source)), tuple(inputs), keep_symbolic)
